"""Test that plays and rejects don't depend on the order of the batches, nor on reruns."""

import random
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import pytest
from judged_frames import COLUMNS
from pyspark.sql import functions as F

from etude.frames import small_frame
from etude.lake.tables import PLAYS, REJECTS
from etude.listening.dedup import number_records
from etude.listening.files import InputFile, Taken
from etude.listening.layout import Layout
from etude.listening.settle import Log, settle
from held import Held

pytestmark = pytest.mark.slow

FIRST = date(2026, 1, 1)
FIRST_PLAY = datetime(2025, 12, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 2, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class File:
    """Describe a file: clean records (record, event, count), rejected ones (record), and its content as a number."""

    content: int
    plays: tuple = ()
    refused: tuple = ()

    @property
    def name(self):
        return f"log{self.content}.tsv@{self.content:016x}"


class World:
    """Hold the plays and rejects of one log and its ingested files, as the job keeps them in the lake."""

    def __init__(self, spark, staging, snapshot, dedup_days=365, own=False, start=FIRST_PLAY):
        self.spark, self.staging, self.start = spark, staging, start
        self.log = Log("log", snapshot, dedup_days, own_event_ids=own)
        self.plays, self.rejects, self.files = [], [], {}

    def batch(self, day, *files, stops_before=None):
        """Run a batch; stop it before it writes the table `stops_before`: plays or files (rejects come first)."""
        taken = self._take(day, files)
        judged = small_frame(self.spark, self._judged(taken, files), COLUMNS)
        numbered = self.staging.keep(number_records(judged, self.log.snapshot))
        plays = small_frame(self.spark, self.plays, PLAYS.schema)
        rejects = small_frame(self.spark, self.rejects, REJECTS.schema)
        done = settle(numbered, plays, rejects, taken, day, self.log, self.staging)
        mended = done.rejects.withColumn("job", F.lit("ingest")).select(*REJECTS.column_names)
        self.rejects = self._elsewhere(self.rejects, done.batches) + mended.collect()
        if stops_before == "plays":
            return None
        self.plays = self._elsewhere(self.plays, done.batches) + done.plays.collect()
        if stops_before == "files":
            return None
        for file in taken.read:
            self.files[file.name] = (file.first_batch, file.last_batch)
        outcomes = [row["reason"] for row in done.outcomes.collect()]
        return len(outcomes), outcomes.count(None)

    @staticmethod
    def _elsewhere(rows, batches):
        return [row for row in rows if row["batch_date"] not in batches]

    def _take(self, day, files):
        read = []
        for file in files:
            first, last = self.files.get(file.name, (None, None))
            if first and first < day and not self.log.snapshot:
                continue
            earliest = min(day, first or day)
            days = earliest, max(day, last or day) if self.log.snapshot else earliest
            name, content = file.name, f"{file.content:016x}" + "0" * 48
            read.append(InputFile(name, name, name, content, 1, NOW, Layout(), (), {}, *days, first, NOW))
        touched = {day} | {file.known_first for file in read if file.known_first}
        return Taken(tuple(read), (), 0, frozenset(touched))

    def _judged(self, taken, files):
        by_name = {file.name: file for file in files}
        rows = []
        for file in taken.read:
            days = file.first_batch, file.last_batch
            for record, event, count in by_name[file.name].plays:
                at = None if self.log.snapshot else self.start + timedelta(hours=int(event))
                play = (f"e{event}", "u", "t", at, count)
                rows.append((file.name, *days, record, None, None, *play, None, None, None))
            refused = by_name[file.name].refused
            rows += [(file.name, *days, record, "bad_count", "x", *[None] * 8) for record in refused]
        return rows

    def state(self):
        columns = ("event_id", "play_count", "batch_date", "file", "record", "counted_on")
        plays = sorted(tuple(play[column] for column in columns) for play in self.plays)
        rejects = sorted((r["locator"], r["raw"] or "", r["reason"], r["batch_date"]) for r in self.rejects)
        return plays, rejects


@pytest.fixture
def world(spark):
    return lambda snapshot=False, **more: World(spark, Held(spark), snapshot, **more)


def day(n):
    return FIRST + timedelta(days=n)


A = File(1, plays=((10, "1", 1), (11, "2", 1)), refused=(12,))
B = File(2, plays=((20, "2", 1), (21, "3", 1)), refused=(22,))
C = File(3, plays=((30, "3", 1), (31, "1", 1), (32, "4", 1)))


def test_an_event_belongs_to_the_smallest_batch_and_its_repeats_are_rejects(world):
    lake = world()
    assert lake.batch(day(2), B) == (3, 2)
    assert lake.batch(day(1), A) == (3, 2)
    assert lake.batch(day(3), C) == (3, 1)
    plays, rejects = lake.state()
    assert [(event, when) for event, _, when, *_ in plays] == [
        ("e1", day(1)),
        ("e2", day(1)),
        ("e3", day(2)),
        ("e4", day(3)),
    ]
    assert [(locator.split("#")[0], reason, when) for locator, _, reason, when in rejects] == [
        (A.name, "bad_count", day(1)),
        (B.name, "duplicate", day(2)),  # event 2, moved there by batch 1
        (B.name, "bad_count", day(2)),
        (C.name, "duplicate", day(3)),
        (C.name, "duplicate", day(3)),
    ]


def test_a_batch_run_again_changes_nothing_and_one_run_with_other_verdicts_is_made_anew(world):
    lake = world()
    lake.batch(day(1), A)
    lake.batch(day(2), B)
    before = lake.state()
    assert lake.batch(day(2), B) == (3, 1)
    assert lake.state() == before
    stricter = File(2, plays=((21, "3", 1),), refused=(20, 22))  # the same file under other settings
    assert lake.batch(day(2), stricter) == (3, 1)
    plays, rejects = lake.state()
    assert [event for event, *_ in plays] == ["e1", "e2", "e3"]
    assert [reason for _, _, reason, _ in rejects] == ["bad_count"] * 3


def test_a_file_that_an_earlier_batch_sees_too_moves_there_whole(world):
    early, late = world(), world()
    early.batch(day(1), A, B)
    early.batch(day(2), A, B)
    late.batch(day(2), A, B)
    late.batch(day(1), A, B)
    assert early.state() == late.state()
    assert {play[2] for play in early.state()[0]} == {day(1)}


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_run_that_stopped_between_two_tables_is_repaired_by_the_next(world, snapshot):
    whole, killed = world(snapshot), world(snapshot)
    for lake in whole, killed:
        lake.batch(day(2), B)
        for table in ("plays", "files") if lake is killed else ():
            lake.batch(day(1), A, stops_before=table)  # turns a play of B into a repeat
        lake.batch(day(1), A)
    assert whole.state() == killed.state()


def test_rows_of_a_file_that_is_gone_stay_when_its_batch_runs_again(world):
    lake = world()
    lake.batch(day(1), A)
    lake.batch(day(1), C)
    plays, rejects = lake.state()
    assert [event for event, *_ in plays] == ["e1", "e2", "e3", "e4"]
    assert [reason for _, _, reason, _ in rejects] == ["bad_count", "duplicate"]


@pytest.mark.parametrize("own", [False, True])
def test_repeats_are_found_however_far_apart_their_batches(world, own):
    ends = []
    for order in ((0, A), (6, B)), ((6, B), (0, A)):
        lake = world(dedup_days=5, own=own)
        for n, file in order:
            lake.batch(day(n), file)
        ends.append(lake.state())
    assert ends[0] == ends[1]
    assert [event for event, *_ in ends[0][0]] == ["e1", "e2", "e3"]


def test_repeats_are_found_in_an_hour_that_local_time_has_twice(world, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        lake = world(start=datetime(2025, 10, 26, 0, 30, tzinfo=timezone.utc))  # event 1 is at the second 2:30
        lake.batch(day(0), File(1, plays=((10, "1", 1),)))
        assert lake.batch(day(1), File(2, plays=((20, "0", 1), (21, "1", 1)))) == (2, 1)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_a_rerun_refuses_of_a_snapshot_is_no_play_any_more(world):
    lake = world(snapshot=True)
    lake.batch(day(1), File(1, plays=((10, "1", 3),)))
    lake.batch(day(2), File(2, plays=((20, "1", 5), (21, "2", 1))))
    lake.batch(day(2), File(2, plays=((21, "2", 1),), refused=(20,)))  # the same file under stricter settings
    plays, rejects = lake.state()
    assert [event for event, *_ in plays] == ["e2"]
    assert [reason for _, _, reason, _ in rejects] == ["bad_count"]


def test_of_a_snapshot_the_newest_count_stands_in_the_oldest_batch(world):
    files = [File(n, plays=((n, "1", count),)) for n, count in ((1, 3), (2, 9), (3, 5))]
    for order in (0, 1, 2), (1, 2, 0), (2, 0, 1):
        lake = world(snapshot=True)
        for n in order:
            assert lake.batch(day(n), files[n]) == (1, 1)
        plays, rejects = lake.state()
        assert [play[:3] for play in plays] == [("e1", 5, day(0))], order
        assert plays[0][3] == files[2].name and not rejects


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("seed", [5, 6])
def test_any_order_ends_the_same(world, snapshot, seed):
    """Run random files in random batches, some in several, in two random orders, each with one batch run twice."""
    draw = random.Random(seed)
    files = [
        File(
            content,
            plays=tuple(
                (content * 100 + n, str(event), draw.randint(1, 9)) for n, event in enumerate(draw.sample(range(8), 4))
            ),
            refused=tuple(content * 100 + 50 + n for n in range(draw.randint(0, 2))),
        )
        for content in range(1, 5)
    ]
    batches = {day(n): draw.sample(files, draw.randint(1, 3)) for n in range(3)}
    ends = []
    for _ in range(2):
        lake = world(snapshot)
        order = list(batches)
        draw.shuffle(order)
        for when in [*order, order[0]]:
            lake.batch(when, *batches[when])
        ends.append(lake.state())
    assert ends[0] == ends[1]
