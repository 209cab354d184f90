"""Free task slots are counted, and waited for where some may still come."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from etude import slots
from etude.slots import all_slots, expected_slots, wait_for_slots


class Session:
    def __init__(self, master):
        self.sparkContext = SimpleNamespace(master=master)


@pytest.mark.slow
def test_a_local_master_has_as_many_slots_as_cores(spark):
    assert all_slots(spark) == 2
    assert wait_for_slots(spark, 2, timeout_s=0) == 2


def test_tasks_that_have_just_ended_take_no_slots_of_a_local_master(monkeypatch):
    told = iter([1, 1, 2])
    monkeypatch.setattr(slots, "free_slots", lambda _: next(told))
    monkeypatch.setattr(slots, "all_slots", lambda _: 2)
    monkeypatch.setattr(slots.time, "sleep", lambda _: None)
    assert wait_for_slots(Session("local[2]"), 2, timeout_s=0) == 2
    monkeypatch.setattr(slots, "free_slots", lambda _: 1)
    monkeypatch.setattr(slots.time, "sleep", lambda _: pytest.fail("there is nothing to wait for"))
    assert wait_for_slots(Session("local[2]"), 3, timeout_s=60) == 1


def test_slots_on_a_cluster_are_waited_for(monkeypatch):
    arriving = iter([0, 1, 2])
    monkeypatch.setattr(slots, "free_slots", lambda _: next(arriving))
    monkeypatch.setattr(slots.time, "sleep", lambda _: None)
    assert wait_for_slots(Session("spark://host:7077"), 2, timeout_s=60) == 2
    monkeypatch.setattr(slots, "free_slots", lambda _: 1)
    assert wait_for_slots(Session("spark://host:7077"), 2, timeout_s=0) == 1


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({}, 0),  # standalone: as many as the cluster gives
        ({"spark.executor.instances": "50"}, 50),
        ({"spark.executor.instances": "50", "spark.executor.cores": "4"}, 200),
        ({"spark.executor.instances": "3", "spark.executor.cores": "5", "spark.task.cpus": "2"}, 6),
    ],
)
def test_settings_may_say_how_many_slots_will_come(conf, expected):
    session = SimpleNamespace(sparkContext=SimpleNamespace(getConf=lambda: conf))
    assert expected_slots(session) == expected
