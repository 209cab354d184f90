"""From a run to those that wrote what it read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timezone

from etude.arguments import Arguments
from etude.config import load_settings
from etude.frames import small_frame
from etude.job import execute
from etude.lake.lineage import Brief, committers, sources
from etude.logs import job_logger

DAY = date(2026, 1, 31)
START = datetime(2026, 1, 31, 3, 0, tzinfo=timezone.utc)


def brief(job: str, run_id: str, **more) -> Brief:
    plain = Brief(run_id, job, "none", START, START, inputs={}, outputs={}, upstream={})
    return replace(plain, **more)


def test_without_a_log_the_writer_is_the_last_one_before_the_version(tmp_path):
    known = [brief("ingest", f"day{n}", outputs={"interactions": 2 * n, "plays": n}) for n in (1, 2, 3)]
    (source,) = sources(str(tmp_path), brief("wmf", "w", inputs={"interactions": 5}), known)
    assert source.run_id == "day2"
    assert sources(str(tmp_path), brief("wmf", "w", inputs={"interactions": 1}), known) == []


def test_later_stages_come_first_and_an_own_table_is_no_source(tmp_path):
    known = [brief("ingest", "i", outputs={"tracks": 1}), brief("wmf", "w"), brief("mel", "m", outputs={"mel": 1})]
    read = {"tracks": 1, "mel": 1, "track_factors": 4, "audio": 12345}
    found = sources(str(tmp_path), brief("train", "t", inputs=read, upstream={"wmf": "w"}), known)
    assert [each.job for each in found] == ["wmf", "mel", "ingest"]
    assert [each.job for each in sources(str(tmp_path), brief("mel", "n", inputs=read), known)] == ["ingest"]


def test_a_commit_of_a_run_that_is_not_known_is_passed_over(tmp_path):
    """One that failed after it had written, say: what the run before it wrote is read too."""
    log = tmp_path / "users" / "_delta_log"
    log.mkdir(parents=True)
    for version, said in enumerate(("job=ingest run_id=day", None, "job=ingest run_id=failed")):
        info = json.dumps({"commitInfo": {"operation": "MERGE", **({"userMetadata": said} if said else {})}})
        (log / f"{version:020d}.json").write_text(f'{{"add": {{}}}}\n{info}\n')
    known = [brief("ingest", "day", outputs={"users": 7}), brief("ingest", "night", outputs={"users": 1})]
    assert sources(str(tmp_path), brief("wmf", "w", inputs={"users": 2}), known) == known[:1]


def test_after_a_rerun_the_version_read_still_leads_to_the_run_that_wrote_it(lake):
    """Its row in the ledger holds only what the last attempt wrote."""

    def writes(job):
        job.replace("users", small_frame(lake.spark, [("ann", 0)], lake.read("users").schema))

    arguments = Arguments(load_settings((), [f"lake.root={lake.root}"]), DAY, "night", False)
    assert execute("ingest", writes, lake.spark, arguments, job_logger()).exit_code == 0
    lake.spark.conf.unset("spark.databricks.delta.commitInfo.userMetadata")
    lake.spark.sql(f"ALTER TABLE delta.`{lake.uri('users')}` SET TBLPROPERTIES ('etude.note' = 'by hand')")
    read = lake.version("users")
    assert set(committers(lake.root, "users", read)) == {("ingest", "night")}
    known = [brief("ingest", "night", outputs={"users": read + 1}), brief("ingest", "day", outputs={"users": 0})]
    assert sources(lake.root, brief("wmf", "w", inputs={"users": read}), known) == known[:1]
