"""Test settings: later layers take precedence, and every mistake is one line with key, value and allowed values."""

import json
from pathlib import Path

import pytest

from etude.config import Settings, load_settings, redacted, settings_help
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
