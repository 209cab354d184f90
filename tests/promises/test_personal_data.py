"""User ids reach neither logs nor error messages; with ETUDE_USER_KEY set, no raw id is in the lake either."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nights import COLUMNS, HEAD, SECRET, user

from etude.lake import Lake
from etude.pseudonym import pseudonym

pytestmark = pytest.mark.slow

KEY = "the key that nobody sees"
NIGHT = date(2026, 1, 29)


def assert_without_ids(text: str, what: str) -> None:
    """Check that a text is not empty and names no user; a failure does not print the text."""
    assert text, what
    assert SECRET not in text, f"{what}: ...{text[max(text.find(SECRET) - 200, 0) :][:300]}"


@pytest.fixture(scope="module")
def lake(two_nights) -> Lake:
    """The lake of runs without a key: its tables hold raw ids."""
    made = Lake(str(two_nights.lake))
    assert {row["user_id"] for row in made.look("users")} == {user(n) for n in range(30)}
    return made


def test_logs_and_json_lines_name_no_user(two_nights):
    assert f"lake=file://{two_nights.lake}" in two_nights.said
    assert_without_ids(two_nights.said, "logs and JSON lines")


def test_an_error_line_names_no_user(two_nights):
    """The log has no header, so the first user's record stands where the names of columns are expected."""
    failed = two_nights.lines[-1]
    assert "one of 3 columns" in failed["error"]
    assert_without_ids(failed["error"], "error")


def test_status_files_name_no_user(two_nights):
    files = list((two_nights.lake / "_status").rglob("*.json"))
    assert len(files) >= 7
    assert_without_ids("".join(file.read_text() for file in files), "status files")


def test_the_ledger_names_no_user(lake):
    assert_without_ids(str(lake.look("runs")), "runs")


def test_the_metadata_of_commits_names_no_user(two_nights):
    said = []
    for log in two_nights.lake.glob("*/_delta_log/*.json"):
        said += [line for line in log.read_text().splitlines() if line.startswith('{"commitInfo"')]
    assert any("replaceWhere" in line or "predicate" in line for line in said)
    assert_without_ids("".join(said), "commit metadata")


def test_the_report_names_no_user(two_nights):
    (page,) = (two_nights.lake / "_reports").glob("*.html")
    assert_without_ids(page.read_text(encoding="utf-8"), "report")


@pytest.fixture(scope="module")
def keyed(submit_all, tmp_path_factory):
    """Ingest a log under a key, with a user's id in each place where a faulty record can have one."""
    folder = tmp_path_factory.mktemp("keyed")
    lake, log, at = folder / "lake", folder / "log.csv", f"{NIGHT}T10:00:00Z"
    records = [
        f"{user(0)},t1,{at},1,One,A,x",
        f"{user(1)},t1,{at},many,One,A,{user(1)}@example.org",
        f"{user(2)},t1,{at}",
        f"shifted,{user(3)},t1,{at},1,One,A,x",
        f"{user(4)},t\xff,{at},1,One,A,x",
        f"{user(0)},t1,{at},1,One,A,x",
        f"{user(5)},t1,never,1,One,A,x",
    ]
    log.write_bytes("\n".join([HEAD.strip() + ",mail", *records, ""]).encode("latin-1"))
    arguments = ["--batch-date", str(NIGHT), f"lake.root={lake}", f"listening.path={log}", COLUMNS]
    done = submit_all(lake, [["ingest", *arguments]], {"ETUDE_USER_KEY": KEY})
    (line,) = done.lines
    assert (line["status"], line["rows"]["rejects"]) == ("succeeded", len(records) - 1), done.said[-3000:]
    return done


def everything(root: Path) -> str:
    """Return the bytes of all files below a folder, and the decoded rows of those that are compressed."""
    files = [file for file in root.rglob("*") if file.is_file()]
    rows = [pq.ParquetFile(file).read().to_pylist() for file in files if file.suffix == ".parquet"]
    assert rows
    return str(rows) + "".join(file.read_bytes().decode("latin-1") for file in files)


def test_under_a_key_no_raw_id_is_in_the_lake(keyed):
    assert_without_ids(everything(keyed.lake), "lake")


def test_under_a_key_users_are_the_hmac_of_their_ids(keyed):
    (row,) = Lake(str(keyed.lake)).look("users")
    assert row["user_id"] == pseudonym(user(0), KEY.encode())


def test_under_a_key_logs_name_no_user(keyed):
    assert_without_ids(keyed.said, "logs and JSON lines")


def test_the_key_is_neither_in_the_lake_nor_in_the_logs(keyed):
    assert KEY not in everything(keyed.lake) + keyed.said + json.dumps(keyed.lines)
