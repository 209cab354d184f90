"""Test that indices are dense, follow the order of the ids within a batch, and never change."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.listening import indices
from etude.listening.indices import continue_indices

SCHEMA = "user_id string, user_idx int"


def number(spark, staging, batches):
    known = {}
    for batch in batches:
        ids = small_frame(spark, [(each,) for each in batch], "user_id string").repartition(3)
        table = small_frame(spark, sorted(known.items()), SCHEMA)
        new = continue_indices(ids, table, "user_id", "user_idx", staging).collect()
        assert not {row["user_id"] for row in new} & known.keys()
        assert [index for _, index in sorted(new, key=lambda row: row["user_id"])] == list(
            range(len(known), len(known) + len(new))
        )
        known.update(new)
    return known


def test_new_ids_continue_the_sequence(spark, staging):
    batches = [["b", "a", "b"], [], ["c", "a", "B", "é"], ["a"]]
    assert number(spark, staging, batches) == {"a": 0, "b": 1, "B": 2, "c": 3, "é": 4}


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text(max_size=3), max_size=30), min_size=1, max_size=2))
def test_every_id_has_one_index_and_none_is_left_out(spark, staging, batches):
    known = number(spark, staging, batches)
    assert sorted(known.values()) == list(range(len({each for batch in batches for each in batch})))


def test_ids_beyond_32_bits_are_refused(spark, staging, monkeypatch):
    monkeypatch.setattr(indices, "_MOST", 2)
    with pytest.raises(DataCheckError, match="user_idx: 3 ids"):
        number(spark, staging, [["a", "b", "c"]])
