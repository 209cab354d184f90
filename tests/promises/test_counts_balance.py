"""Counts balance: what a job read equals what it kept plus what it refused, and tables hold what the ledger counts."""

from __future__ import annotations

from collections import Counter

import pytest
from nights import FIRST, REJECTED, SECOND

from etude.lake import Lake, ledger
from etude.stages import STAGES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lake(two_nights) -> Lake:
    return Lake(str(two_nights.lake))


@pytest.fixture(scope="module")
def graph(lake):
    return ledger.graph(lake)


@pytest.mark.parametrize("night", [FIRST, SECOND])
def test_each_record_is_kept_or_rejected(graph, nights, night):
    rows = graph.run("ingest", str(night)).row_counts
    assert rows["rows_in"] == nights.records[night]
    assert rows["rows_in"] == rows["plays_kept"] + rows["rejects"]


@pytest.mark.parametrize("night", [FIRST, SECOND])
def test_each_fault_is_rejected_for_its_reason(lake, night):
    assert ledger.find(lake, "ingest", str(night)).facts["rejected"] == REJECTED[night]
    found = Counter(row["reason"] for row in lake.look("rejects", ("reason",), job="ingest", batch_date=night))
    assert found == REJECTED[night]


@pytest.mark.parametrize("night", [FIRST, SECOND])
def test_the_tables_hold_as_many_plays_and_rejects_as_the_run_counted(lake, graph, night):
    rows = graph.run("ingest", str(night)).row_counts
    assert lake.count("plays", batch_date=night) == rows["plays_kept"]
    assert lake.count("rejects", job="ingest", batch_date=night) == rows["rejects"]


def test_interactions_hold_every_play(lake, graph):
    played = sum(row["play_count"] for row in lake.look("plays", ("play_count",)))
    assert sum(row["play_count"] for row in lake.look("interactions", ("play_count",))) == played
    counted = graph.run("ingest", str(SECOND)).row_counts
    for table in ("users", "tracks", "interactions"):
        assert lake.count(table) == counted[table]


@pytest.mark.parametrize("job", ["wmf", "train", "blend", "topn"])
def test_a_run_has_left_as_many_rows_as_its_ledger_entry_counts(lake, graph, job):
    run = graph.succeeded(job, str(SECOND))
    counted = {table: run.row_counts[table] for table in STAGES[job].publishes if table in run.row_counts}
    assert counted
    assert {table: lake.count(table, run_id=run.run_id) for table in counted} == counted
