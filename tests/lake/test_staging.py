"""Intermediate results live as long as the block that made them, and no longer than the next run."""

from etude import storage
from etude.frames import small_frame
from etude.lake.staging import Staging


def test_results_go_with_the_block_and_those_of_a_killed_one_with_the_next(spark, tmp_path):
    killed = Staging(spark, f"{tmp_path.as_uri()}/ingest-run")
    killed.keep(small_frame(spark, [(1,)], "n int"))
    with Staging(spark, f"{tmp_path.as_uri()}/ingest-run") as staging:
        assert not storage.exists(killed.uri)
        assert staging.keep(small_frame(spark, [(2,)], "n int")).collect() == [(2,)]
    assert not list(tmp_path.iterdir())


def test_a_stalled_block_that_wakes_leaves_its_successors_results(spark, tmp_path):
    place = f"{tmp_path.as_uri()}/ingest-run"
    with Staging(spark, f"{place}.1") as of_another_run:
        other = of_another_run.keep(small_frame(spark, [(0,)], "n int"))
        stalled = Staging(spark, place).__enter__()
        with Staging(spark, place) as staging:
            kept = staging.keep(small_frame(spark, [(2,)], "n int"))
            stalled.__exit__(None, None, None)
            assert (kept.collect(), other.collect()) == ([(2,)], [(0,)])
