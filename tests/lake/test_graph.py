"""Which run a job builds on, which runs still rest on what they were built on, and where their rows came from."""

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.lake.graph import RunGraph
from etude.lake.runs import ABSENT, Run

DAY = date(2026, 1, 31)
START = datetime(2026, 2, 1, tzinfo=timezone.utc)


def ran(run_id, job="wmf", hours=(0, 0), status="succeeded", day=DAY, protocol="none", **upstream):
    start, end = (START + timedelta(hours=hour) for hour in hours)
    built_on = {name: [value] for name, value in upstream.items()}
    return Run(run_id, job, day, protocol, start, ended_at=end, status=status, upstream=built_on)


def test_a_run_is_outdated_when_what_it_rests_on_has_run_again():
    graph = RunGraph(
        [
            ran("stands", hours=(0, 2)),
            ran("again", hours=(5, 6)),
            ran("running", status="running"),
            *(ran(wmf, "train", (2, 3), wmf=wmf) for wmf in ("stands", "again", "running", "gone")),
            ran("failed", "train", (2, 3), "failed", wmf="stands"),
            *(ran(train, "topn", (4, 5), train=train) for train in ("stands", "again")),
        ]
    )
    outdated = {
        run_id: graph.is_outdated("train", run_id) for run_id in ("stands", "again", "running", "gone", "failed")
    }
    assert outdated == {"stands": False, "again": True, "running": True, "gone": True, "failed": True}
    assert [graph.is_outdated("topn", run_id) for run_id in ("stands", "again", "never")] == [False, True, True]


def extended(run_id, basis, hours, **upstream):
    made = ran(run_id, hours=hours, **upstream)
    made.facts = {"basis": basis}
    return made


@pytest.mark.parametrize(
    ("sunday", "monday", "outdated"),
    [
        ((0, 1), ((2, 3), "sun"), False),
        ((0, 1), ((6, 7), "sun"), False),  # the same night once more, in the same basis
        ((8, 9), ((2, 3), "sun"), True),
        ((8, 9), ((10, 11), "sun"), True),  # on a fit that has run again since
        ((0, 1), ((6, 7), "mon"), True),  # a fit of its own now
        ((0, 1), ((6, 7), "other"), True),
    ],
)
def test_what_extends_a_run_stands_while_the_basis_does(sunday, monday, outdated):
    again, basis = monday
    built = {} if basis == "mon" else {"wmf": "sun"}
    graph = RunGraph(
        [
            extended("sun", "sun", sunday),
            extended("mon", basis, again, **built),
            extended("tue", "sun", (4, 5), wmf="mon"),
            ran("t", "train", (5, 5), wmf="tue"),
        ]
    )
    assert graph.is_outdated("wmf", "tue") == graph.is_outdated("train", "t") == outdated


def test_a_chain_of_years_is_followed():
    nights = [extended("0", "0", (0, 0)), *(extended(f"{n}", "0", (n, n), wmf=f"{n - 1}") for n in range(1, 1500))]
    graph = RunGraph(nights)
    assert not graph.is_outdated("wmf", "1499")
    assert graph.basis("1499").run_id == "0"
    assert RunGraph([*nights[1:], ran("0", hours=(9000, 9000))]).is_outdated("wmf", "1499")


def test_one_outdated_run_of_several_upstream_runs_of_one_job_is_enough():
    compared = ran("c", "report", (7, 8))
    compared.upstream = {"topn": ["a", "b"]}
    graph = RunGraph([ran("a", "topn"), ran("b", "topn", (9, 9)), compared])
    assert graph.is_outdated("report", "c")
    assert [parent.run_id for parent in graph.parents(compared)] == ["a", "b"]


CHOICES = RunGraph(
    [
        ran("old", day=date(2026, 1, 1)),
        ran("half", status="running", day=date(2026, 1, 2)),
        ran("strict", protocol="strict"),
        ran("failed", status="failed", hours=(3, 3)),
        ran("first", hours=(1, 1)),
        ran("second", hours=(2, 2)),
    ]
)
OTHER_DAY = date(2026, 1, 30)


def choose(run_id="x", asked=None, day=DAY, protocol="none", job="topn", **more):
    return CHOICES.choose("wmf", ran(run_id, job, day=day, protocol=protocol), asked, **more)


def test_the_run_asked_for_then_the_shared_run_id_then_the_newest_of_the_batch():
    assert choose(asked="first") == "first"
    assert choose(run_id="first") == "first"
    assert choose() == "second"
    assert choose(protocol="strict") == "strict"


@pytest.mark.parametrize("missing", [{"asked": "gone"}, {"asked": "failed"}, {"day": OTHER_DAY}, {"protocol": "paper"}])
def test_a_run_that_is_not_there_is_a_missing_input(missing):
    with pytest.raises(InputMissingError):
        choose(**missing)


def test_a_run_of_another_protocol_is_refused():
    with pytest.raises(SettingsError, match=r"inputs\.wmf_run_id=strict.*protocol=strict.*protocol=none"):
        choose(asked="strict")


def test_the_served_run_is_the_last_choice_and_only_under_none_and_only_if_it_succeeded():
    assert choose(day=OTHER_DAY, served="old") == "old"
    for refused in ({"protocol": "strict", "served": "old"}, {"served": "half"}):
        with pytest.raises(InputMissingError):
            choose(day=OTHER_DAY, **refused)


def test_a_run_that_extends_an_earlier_one_never_takes_itself():
    assert choose(run_id="second", job="wmf") == "first"
    before = ran("second", "wmf", wmf="old")
    assert choose(run_id="second", job="wmf", before=before) == "old"
    with pytest.raises(InputMissingError):
        choose(run_id="old", job="wmf", day=OTHER_DAY)


def test_a_blend_takes_the_choice_of_an_evaluated_one():
    graph = RunGraph(
        [
            ran("none", "blend", hours=(9, 9)),
            ran("day", "blend", hours=(1, 1), protocol="strict"),
            ran("newest", "blend", hours=(2, 2), protocol="strict", day=OTHER_DAY),
        ]
    )
    run = ran("r", "blend", train="t", wmf="w")
    assert graph.choose("blend", run) == "day"
    assert graph.choose("blend", run, before=ran("r", "blend", blend="newest")) == "newest"
    assert graph.choose("blend", ran("r", "blend", day=date(2026, 1, 2))) == "newest"
    assert graph.choose("blend", ran("r", "topn")) == "none", "lists are made of a run of their own protocol"
    with pytest.raises(InputMissingError, match="strict"):
        RunGraph([ran("none", "blend")]).choose("blend", run)


def test_what_was_built_on_the_run_chosen_before_is_preferred():
    graph = RunGraph(
        [
            ran("shared", "train", (9, 9), day=date(2026, 1, 1), wmf="w"),
            ran("mine", "train", (1, 1), day=date(2026, 1, 1), wmf="w"),
            ran("newest", "train", (2, 2), wmf="another"),
        ]
    )

    def chosen(run_id="x", **upstream):
        return graph.choose("train", ran(run_id, "topn", **upstream))

    assert chosen(wmf="w") == "shared"
    assert chosen("mine", wmf="w") == "mine"
    assert chosen(wmf="never") == chosen() == "newest"


@given(st.integers(1, 6))
def test_the_basis_of_a_chain_of_extensions_is_its_fit(length):
    graph = RunGraph([ran("0"), *(ran(str(n), wmf=str(n - 1)) for n in range(1, length))])
    assert graph.basis(str(length - 1)).run_id == "0"


def test_a_basis_that_no_longer_counts_is_an_error():
    graph = RunGraph([ran("fit", status="failed"), ran("fold", wmf="fit")])
    with pytest.raises(DataCheckError, match="fold"):
        graph.basis("fold")


def made(job, run_id, **changed):
    return Run(run_id, job, DAY, "none", START, ended_at=START, status="succeeded", **changed)


def test_without_a_log_the_writer_is_the_last_one_before_the_version():
    graph = RunGraph(made("ingest", f"day{n}", outputs={"interactions": 2 * n, "plays": n}) for n in (1, 2, 3))
    (source,) = graph.sources(made("wmf", "w", inputs={"interactions": 5}))
    assert source.run_id == "day2"
    assert graph.sources(made("wmf", "w", inputs={"interactions": 1})) == []
    assert graph.sources(made("wmf", "w", inputs={"interactions": ABSENT})) == []


def test_later_stages_come_first_and_an_own_table_is_no_source():
    graph = RunGraph(
        [made("ingest", "i", outputs={"tracks": 1}), made("wmf", "w"), made("mel", "m", outputs={"mel": 1})]
    )
    read = {"tracks": 1, "mel": 1, "track_factors": 4}
    found = graph.sources(made("train", "t", inputs=read, upstream={"wmf": ["w"]}))
    assert [each.job for each in found] == ["wmf", "mel", "ingest"]
    assert [each.job for each in graph.sources(made("mel", "n", inputs=read))] == ["ingest"]


def test_the_commit_of_a_run_that_does_not_count_is_left_out():
    """One that failed after it had written: what the run before it wrote is read too."""
    writers = [(2, "ingest", "failed"), (1, "ingest", "day")]
    runs = [made("ingest", "day", outputs={"users": 7}), made("ingest", "night", outputs={"users": 1})]
    graph = RunGraph(runs, lambda table, version: iter(writers))
    assert graph.sources(made("wmf", "w", inputs={"users": 2})) == runs[:1]


def test_a_chain_and_a_tree_lead_from_the_lists_to_the_plays():
    runs = [
        made("ingest", "i", outputs={"interactions": 1, "tracks": 1}),
        made("wmf", "w", inputs={"interactions": 1}),
        made("train", "t", inputs={"tracks": 1}, upstream={"wmf": ["w"]}),
        made("topn", "l", upstream={"wmf": ["w"], "train": ["t"]}),
    ]
    graph = RunGraph(runs)
    assert [run.job for run in graph.chain(runs[-1]).values()] == ["ingest", "wmf", "train", "topn"]
    tree = graph.tree(runs[-1])
    assert [source.run.job for source in tree.sources] == ["train", "wmf"]
    assert [source.run.job for source in tree.sources[0].sources] == ["wmf", "ingest"]


def wrote(run_id, job="ingest", status="succeeded", read=ABSENT, left=None):
    run = ran(run_id, job, status=status)
    run.inputs, run.outputs = {"users": read}, {} if left is None else {"users": left}
    return run


@pytest.mark.parametrize(
    ("runs", "by", "counts"),
    [
        ([wrote("a", left=2)], {2: "a"}, 2),
        ([wrote("a", left=2), wrote("b", status="running")], {2: "a", 3: "b"}, 2),
        ([wrote("a", left=2), wrote("b", status="failed")], {2: "a", 3: "b", 4: "b"}, 2),
        ([wrote("a", left=2)], {2: "a", 3: "not in the ledger yet"}, 2),
        # The run after an unfinished one built on its rows, and may have had nothing to write itself.
        ([wrote("b", status="running"), wrote("c", read=3)], {3: "b"}, 3),
        # An attempt under way takes the place of an earlier one that succeeded.
        ([wrote("a", left=2), wrote("b", status="running", read=2, left=3)], {2: "a", 3: "b"}, 2),
        ([wrote("a", status="running")], {2: "a"}, 1),
        ([wrote("a", status="running")], {0: "a"}, None),
        ([wrote("a", left=2)], {2: "a"}, 5),
        ([wrote("a", left=2), wrote("b", status="failed")], {2: "a", 4: "b"}, 3),
        # Of an older release, which recorded no versions.
        ([wrote("a")], {2: "a"}, 2),
        ([], {}, 4),
        ([wrote("a", left=9)], {}, 4),
    ],
)
def test_what_an_unfinished_ingest_wrote_does_not_count(runs, by, counts):
    """Versions without a job are those of OPTIMIZE, or of a person."""
    newest = max(by, default=4) if counts is None or counts <= max(by, default=4) else counts

    def commits(table, version):
        return ((number, "ingest", by[number]) for number in range(version, -1, -1) if number in by)

    graph = RunGraph(runs, commits)
    assert graph.counted("users", newest, "wmf") == counts
    assert graph.counted("users", newest, "ingest") == newest, "ingest itself goes on from what is there"
    assert graph.counted("users", None, "wmf") is None


def test_of_a_table_that_several_jobs_or_overlapping_runs_write_the_newest_version_counts():
    unfinished = [ran("r", job, status="running") for job in ("ingest", "mel", "wmf")]
    graph = RunGraph(unfinished, lambda table, version: iter([(version, "ingest", "r")]))
    for table in ("rejects", "splits", "user_factors", "releases"):
        assert graph.counted(table, 7, "report") == 7
    mel = RunGraph(unfinished, lambda table, version: iter([(version, "mel", "r")]))
    assert mel.counted("mel", 7, "train") == 6


def test_a_trial_of_a_comparison_is_taken_by_its_name_only():
    trial, of_pipeline = ran("trial", "train", (5, 5)), ran("ours", "train", (1, 1))
    trial.parent, of_pipeline.parent = "c", "p"
    graph = RunGraph([trial, of_pipeline, ran("c", "compare"), ran("p", "pipeline")])
    assert graph.choose("train", ran("x", "topn")) == "ours"
    assert graph.choose("train", ran("x", "topn"), "trial") == "trial"
    assert [run.run_id for run in graph.newest(("train",))] == ["ours"]
    assert graph.is_trial(trial) and not graph.is_trial(of_pipeline)
