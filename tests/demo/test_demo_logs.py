"""Test the log's files: an independent reader counts exactly the planted faults."""

import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from etude.config.demo import DemoSettings
from etude.demo.corpus import build

HEADER = b"user_id,track_id,played_at,play_count"
TIME = re.compile(rb"2025-(0[1-9]|1[0-2])-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ")


def verdict(line: bytes, seen: set[bytes]) -> str:
    """Return a strict reader's verdict on a line."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return "encoding"
    fields = line.split(b",")
    if len(fields) != 4:
        return "wrong_columns"
    user, track, played_at, count = fields
    if not user or not track:
        return "empty_user" if not user else "empty_track"
    if not re.fullmatch(rb"-?\d+", count):
        return "bad_count"
    if not 0 < int(count) < 1_000_000:
        return {-1: "negative_count", 0: "zero_count", 1: "absurd_count"}[int(np.sign(int(count)))]
    if played_at.startswith(b"2999-"):
        return "future_timestamp"
    if not TIME.fullmatch(played_at):
        return "bad_timestamp"
    if line in seen:
        return "duplicate"
    seen.add(line)
    return "kept"


def test_every_line_is_what_expected_json_says(corpus) -> None:
    files = sorted((corpus.folder / "plays").iterdir())
    assert [file.name for file in files] == [f"plays-2025-{month:02d}.csv" for month in range(1, 13)]
    seen: set[bytes] = set()
    verdicts: Counter[str] = Counter()
    for file in files:
        header, *lines = file.read_bytes().removesuffix(b"\n").split(b"\n")
        assert header == HEADER
        verdicts.update(verdict(line, seen) for line in lines)
    expected = corpus.expected["plays"]
    assert verdicts.pop("kept") == expected["kept"]
    assert dict(verdicts) == expected["refused"]
    assert sum(verdicts.values()) + expected["kept"] == expected["rows"]
    assert len(verdicts) == 11
    unknown = [line for line in seen if line.split(b",")[1].startswith(b"x")]
    assert len(unknown) == expected["planted"]["unknown_track"] > 0
    known = [tuple(line.split(b",")[:2]) for line in seen if not line.split(b",")[1].startswith(b"x")]
    assert len(set(known)) == expected["pairs"]
    assert len({track for _, track in known}) == expected["tracks_played"]
    assert expected["tracks_played"] + expected["tracks_without_plays"] == corpus.settings.tracks


def test_good_rows_lie_in_the_file_of_their_month(corpus) -> None:
    for file in (corpus.folder / "plays").iterdir():
        rows = pd.read_csv(file, dtype=str, encoding_errors="replace", on_bad_lines="skip")
        times = rows.played_at[rows.played_at.str.match(r"2025-0|2025-1[0-2]", na=False)]
        assert (times.str[:7] == file.stem[-7:]).all()


@pytest.mark.parametrize("log_format", ["tsv", "parquet"])
def test_other_formats_hold_the_same_plays(corpus, tmp_path, log_format: str) -> None:
    """Check that valid rows and their order equal those of the CSV files; faults that only text can hold are absent."""
    common = {"audio": False, "bad_rows": 0.0}
    build(tmp_path / "csv", corpus.settings.model_copy(update=common))
    build(tmp_path / "other", corpus.settings.model_copy(update={**common, "log_format": log_format}))
    for month in range(1, 13):
        name = f"plays/plays-2025-{month:02d}"
        plain = pd.read_csv(tmp_path / "csv" / f"{name}.csv", parse_dates=["played_at"])
        path = tmp_path / "other" / f"{name}.{log_format}"
        other = (
            pd.read_parquet(path) if log_format == "parquet" else pd.read_csv(path, sep="\t", parse_dates=["played_at"])
        )
        pd.testing.assert_frame_equal(plain, other, check_dtype=False)


def test_parquet_holds_the_faults_that_types_allow(tmp_path) -> None:
    settings = DemoSettings(users=50, tracks=40, events=2000, audio=False, log_format="parquet", bad_rows=0.1)
    build(tmp_path / "corpus", settings)
    rows = pd.concat(pq.read_table(file).to_pandas() for file in sorted((tmp_path / "corpus/plays").iterdir()))
    expected = json.loads((tmp_path / "corpus/expected.json").read_text())["plays"]
    assert len(rows) == expected["rows"]
    assert set(expected["refused"]) == {
        "duplicate", "future_timestamp", "negative_count", "zero_count", "absurd_count", "empty_user", "empty_track",
    }  # fmt: skip
    assert (rows.play_count < 0).sum() == expected["refused"]["negative_count"]
    assert (rows.user_id == "").sum() == expected["refused"]["empty_user"]
    assert (rows.played_at.dt.year == 2999).sum() == expected["refused"]["future_timestamp"]
    assert rows.duplicated().sum() == expected["refused"]["duplicate"]
