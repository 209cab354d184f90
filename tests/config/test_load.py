"""Test settings: later layers take precedence, and every mistake is one line with key, value and allowed values."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from etude.config import Settings, load_settings, redacted, settings_help
from etude.config.base import Section
from etude.errors import SettingsError


def test_later_layers_win_and_overrides_win_over_all(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("wmf: {rank: 10, alpha: 2.0}\ntopn: {n: 7}\n")
    second.write_text("wmf: {rank: 20}\n")
    settings = load_settings([first, second], ["topn.n=9"])
    assert (settings.wmf.rank, settings.wmf.alpha, settings.topn.n) == (20, 2.0, 9)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("listening.delimiter=,", ","),
        ("listening.delimiter=|", "|"),
        ("listening.delimiter=:", ":"),
        ("listening.delimiter=\\t", "\t"),
        ('listening.delimiter="\\t"', "\t"),
        ("listening.delimiter=null", None),
        ("listening.quote=", ""),
        ("inputs.wmf_run_id=20260131", "20260131"),
        ("inputs.wmf_run_id=00123", "00123"),
        ("listening.path=[x].csv", "[x].csv"),
        ("listening.path=a b #c=d", "a b #c=d"),
        ("listening.path='a b'", "a b"),
        ("listening.path=${lake.root}/x", "build/lake/x"),
        ("listening.columns.user=0", 0),
        ("mel.fallback=none", "none"),
        ("topn.cold_share=null", None),
        ("evaluation.k=[1,2]", (1, 2)),
    ],
)
def test_a_text_is_taken_as_it_was_typed_and_all_else_is_yaml(tmp_path, override, value):
    layer = tmp_path / "layer.yaml"
    layer.write_text("lake: {root: build/lake}\n")
    found = load_settings([layer], [override])
    for part in override.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("wmf.rnk=3", ["wmf.rnk", "unknown setting", "rank"]),
        ("wmf.rank=many", ["wmf.rank", "'many'", "integer"]),
        ("wmf.rank=0", ["wmf.rank", "0", "greater than or equal to 1"]),
        ("pipeline.samples=-1", ["pipeline.samples", "-1", "greater than or equal to 0"]),
        ("wmf.engine=best", ["wmf.engine", "'best'", "'blocked'"]),
        ("nothing.here=1", ["nothing", "unknown setting", "wmf"]),
        ("wmf.rank", ["wmf.rank", "section.key=value"]),
        ("listening.columns.usr=1", ["listening.columns.usr", "unknown setting", "user"]),
        ("wmf.rank=${oc.env:NOPE}", ["NOPE"]),
    ],
)
def test_a_mistake_is_one_line(override, words):
    with pytest.raises(SettingsError) as caught:
        load_settings((), [override])
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def fields(section=Settings, prefix=""):
    """Yield (key, section, field) of every setting, those of a list's items left out."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", section, field


def kinds(annotation):
    """All types that an annotation names."""
    inner = get_args(annotation)
    return {kind for each in inner for kind in kinds(each)} if inner else {annotation}


NUMBERS = [
    key for key, _, field in fields() if kinds(field.annotation) & {int, float} and bool not in kinds(field.annotation)
]


@pytest.mark.parametrize("override", ["audio.root=/music/caf\udce9", "audio.suffixes=[.wav,\udce9]", "\udce9=1"])
def test_bytes_that_are_not_utf8_are_a_mistake(override):
    with pytest.raises(SettingsError, match=r"xe9.*': expected UTF-8 text; a path may be a URI") as caught:
        load_settings((), [override])
    str(caught.value).encode()


@pytest.mark.parametrize("key", [key for key, *_ in fields()])
def test_an_empty_text_is_an_unset_shell_variable(key):
    if key == "listening.quote":
        assert load_settings((), ["listening.quote="]).listening.quote == "", "no quote character"
        return
    with pytest.raises(SettingsError, match=f"{key}=.*empty"):
        load_settings((), [f"{key}="])


def test_an_empty_text_in_a_file_is_a_mistake_too(tmp_path):
    layer = tmp_path / "layer.yaml"
    layer.write_text("lake: {root: ''}\n")
    with pytest.raises(SettingsError, match=r"lake\.root=''.*empty"):
        load_settings([layer])


@pytest.mark.parametrize("key", NUMBERS)
def test_true_is_no_number(key):
    with pytest.raises(SettingsError, match=re.escape(key)):
        load_settings((), [f"{key}=true"])


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("key", [key for key, _, field in fields() if float in kinds(field.annotation)])
def test_a_number_is_finite(key, value):
    with pytest.raises(SettingsError, match=re.escape(key)):
        load_settings((), [f"{key}={value}"])


@pytest.mark.parametrize("name", ["my log", "a/b", "..", ".hidden", "_x", "ü", "log\n", "x" * 65])
def test_a_name_of_a_log_is_a_name(name):
    with pytest.raises(SettingsError, match=r"listening\.source"):
        load_settings((), [f"listening.source={name}"])


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("listening.colums.user=1", "columns"),
        ("catalogue.sources=[{name: a, path: b, columns: {track: t}, tag_delim: x}]", "tag_delimiter"),
        ("catalogue.sources=[{name: a, path: b, columns: {track: t, tag_weight: [x]}}]", "tag_weights"),
        ("spark.shufle_partitions=3", "shuffle_partitions"),
    ],
)
def test_the_nearest_name_is_offered(override, near):
    with pytest.raises(SettingsError, match=rf"did you mean {near}\?.*expected one of: .*{near}"):
        load_settings((), [override])


def test_two_mistakes_are_two_lines():
    with pytest.raises(SettingsError) as caught:
        load_settings((), ["wmf.rank=0", "topn.n=0"])
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("content", ["just a text", "a: [1,", "- 1\n- 2\n", "\x00"])
def test_a_file_that_is_no_settings_file_is_named(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"bad\.yaml"):
        load_settings([file])


def test_a_missing_file_is_named():
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: no such file"):
        load_settings(["nowhere.yaml"])


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().wmf.rank = 3  # type: ignore[misc]


def test_credentials_in_a_uri_do_not_reach_the_ledger():
    settings = load_settings((), ["lake.root=s3a://key:secret@bucket/lake"])
    assert "secret" not in json.dumps(redacted(settings))
    assert redacted(settings)["lake"]["root"] == "s3a://***@bucket/lake"


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).resolve().parents[2] / "conf").glob("*.yaml")), ids=lambda f: f.name
)
def test_the_files_in_conf_are_valid(file):
    assert load_settings([file]).lake.root


def test_the_paper_s_settings_have_its_shape():
    paper = load_settings([Path(__file__).resolve().parents[2] / "conf" / "paper.yaml"])
    tracks, held_out = paper.listening.max_tracks, paper.evaluation
    assert (paper.listening.sample_users, tracks, held_out.protocol) == (10_000, 50_000, "paper")
    assert (tracks * held_out.test_tracks, held_out.validation_tracks) == (10_000, 0)
    assert (paper.train.epochs, paper.train.patience, paper.train.learning_rate) == (100, None, 0.001)


def test_help_explains_every_setting():
    lines = settings_help(list(Settings.model_fields)).splitlines()
    for key, text in zip(lines[::2], lines[1::2], strict=True):
        assert text.strip(), f"{key} has no explanation"


def test_the_largest_share_of_cold_tracks_is_not_below_the_least():
    assert load_settings((), ["topn.cold_share=0.2", "topn.most_cold_share=0.2"]).topn.most_cold_share == 0.2
    with pytest.raises(SettingsError, match=r"most_cold_share=0\.1 is below cold_share=0\.2"):
        load_settings((), ["topn.cold_share=0.2", "topn.most_cold_share=0.1"])
