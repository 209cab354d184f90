"""The ledger: which run a job builds on, and which still stand on what they were built on."""

from datetime import date, datetime

import pytest

from etude.errors import InputMissingError, SettingsError
from etude.lake.ledger import Ledger, RunRecord

DAY = date(2026, 1, 31)


def ran(run_id, job="wmf", hours=(0, 0), status="succeeded", day=DAY, protocol="none", **upstream):
    start, end = (datetime(2026, 2, 1, hour) for hour in hours)
    return RunRecord(run_id, job, day, protocol, "{}", "0", start, ended_at=end, status=status, upstream=upstream)


@pytest.fixture
def ledger(lake):
    """A ledger that `write_all` fills in one commit."""
    made = Ledger(lake)
    made.write_all = lambda *records: lake.put("runs", [record.as_entry() for record in records])
    return made


def test_a_run_is_outdated_when_what_it_rests_on_has_run_again(ledger):
    ledger.write_all(
        ran("stands", hours=(0, 2)),
        ran("again", hours=(5, 6)),
        ran("running", status="running"),
        *(ran(wmf, "train", (2, 3), wmf=wmf) for wmf in ("stands", "again", "running", "gone")),
        ran("failed", "train", (2, 3), "failed", wmf="stands"),
        *(ran(train, "topn", (4, 5), train=train) for train in ("stands", "again")),
    )
    outdated = {
        run_id: ledger.is_outdated("train", run_id) for run_id in ("stands", "again", "running", "gone", "failed")
    }
    assert outdated == {"stands": False, "again": True, "running": True, "gone": True, "failed": True}
    assert [ledger.is_outdated("topn", run_id) for run_id in ("stands", "again", "never")] == [False, True, True]


def test_upstream_prefers_the_shared_run_id_then_the_batch_then_the_one_in_force(ledger):
    ledger.write_all(
        ran("old", day=date(2026, 1, 1)),
        ran("half", status="running", day=date(2026, 1, 2)),
        ran("strict", protocol="strict"),
        ran("failed", status="failed", hours=(3, 3)),
        ran("first", hours=(1, 1)),
        ran("second", hours=(2, 2)),
    )
    other_day = date(2026, 1, 30)

    def upstream(run_id="x", asked=None, day=DAY, protocol="none", job="topn"):
        return ledger.upstream("wmf", asked, ran(run_id, job, day=day, protocol=protocol))

    assert upstream(asked="first") == "first"
    assert upstream(run_id="first") == "first"
    assert upstream() == "second"
    assert upstream(protocol="strict") == "strict"
    for missing in ({"asked": "gone"}, {"asked": "failed"}, {"day": other_day}, {"protocol": "paper"}):
        with pytest.raises(InputMissingError):
            upstream(**missing)
    with pytest.raises(SettingsError, match=r"inputs\.wmf_run_id=strict.*protocol=strict.*protocol=none"):
        upstream(asked="strict")
    ledger.make_current({"track_factors": "old"})
    assert upstream(day=other_day) == "old"
    with pytest.raises(InputMissingError):
        upstream(day=other_day, protocol="strict")
    # A run that goes on from an earlier one never takes itself for it.
    assert upstream(run_id="second", job="wmf") == "first"
    again = ran("second", "wmf")
    again.built_on = {"wmf": "old"}
    assert ledger.upstream("wmf", None, again) == "old"
    with pytest.raises(InputMissingError):
        upstream(run_id="old", job="wmf", day=other_day)
    # What is in force counts only while its last attempt succeeded.
    ledger.make_current({"track_factors": "half"})
    with pytest.raises(InputMissingError):
        upstream(day=other_day)


def test_upstream_prefers_what_was_built_on_the_run_chosen_before(ledger):
    ledger.write_all(
        ran("shared", "train", (9, 9), day=date(2026, 1, 1), wmf="w"),
        ran("mine", "train", (1, 1), day=date(2026, 1, 1), wmf="w"),
        ran("newest", "train", (2, 2), wmf="another"),
    )

    def upstream(run_id="x", **chosen):
        return ledger.upstream("train", None, ran(run_id, "topn", **chosen))

    assert upstream(wmf="w") == "shared"
    assert upstream("mine", wmf="w") == "mine"
    assert upstream(wmf="never") == upstream() == "newest"
