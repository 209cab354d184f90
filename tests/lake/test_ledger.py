"""The ledger: which run a job builds on, and which still stand on what they were built on."""

from datetime import date, datetime

import pytest

from etude.lake.ledger import Ledger, RunRecord

DAY = date(2026, 1, 31)


def ran(run_id, job="wmf", hours=(0, 0), status="succeeded", day=DAY, protocol="none", **upstream):
    start, end = (datetime(2026, 2, 1, hour) for hour in hours)
    return RunRecord(run_id, job, day, protocol, "{}", "0", start, ended_at=end, status=status, upstream=upstream)


@pytest.fixture
def ledger(lake):
    """A ledger that `write_all` fills in one commit."""
    made = Ledger(lake)
    made.write_all = lambda *records: lake.replace("runs", made.frame(records))
    return made


def test_a_run_is_outdated_when_what_it_rests_on_has_run_again(ledger):
    def outdated(wmf, train=None):
        train = train or ran("r", "train", (2, 3), wmf="w")
        ledger.write_all(*wmf, train, ran("r", "topn", (4, 5), train="r"))
        return ledger.is_outdated("train", "r"), ledger.is_outdated("topn", "r")

    assert outdated([ran("w", hours=(0, 2))]) == (False, False)
    assert outdated([ran("w", hours=(5, 6))]) == (True, True)
    assert outdated([ran("w", hours=(0, 1), status="running")]) == (True, True)
    assert outdated([]) == (True, True)
    assert outdated([ran("w", hours=(0, 1))], ran("r", "train", (2, 3), "failed", wmf="w")) == (True, True)
    assert ledger.is_outdated("topn", "never")
