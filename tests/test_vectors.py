"""Test factors as arrays: round trips through tables and frames, their checks, and the size limit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etude import vectors
from etude.errors import DataCheckError
from etude.vectors import Factors, SizeLimit, collect, collect_all

LIMIT = SizeLimit(1, "wmf.max_broadcast_mb", "lower wmf.rank")
INT32 = st.integers(0, 2**31 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def some_factors(draw, least=0):
    idx = np.array(sorted(draw(st.sets(INT32, min_size=least, max_size=12))), np.int32)
    rank = draw(st.integers(1, 5))
    return Factors(idx, draw(hnp.arrays(np.float32, (len(idx), rank), elements=FLOAT32)))


def assert_same(found: Factors, expected: Factors) -> None:
    assert (found.idx.dtype, found.values.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(found.idx, expected.idx)
    np.testing.assert_array_equal(found.values, expected.values)


def table_of(idx, factors) -> pa.Table:
    return pa.table({"track_idx": pa.array(idx, pa.int32()), "factors": pa.array(factors, pa.list_(pa.float32()))})


def shuffled(table: pa.Table, order, pieces: int) -> pa.Table:
    """Return the rows in another order, in several chunks."""
    cuts = np.linspace(0, len(order), pieces + 1).astype(int)
    parts = [table.take(pa.array(order[a:b], pa.int64())) for a, b in pairwise(cuts)]
    return pa.concat_tables(parts)


@given(some_factors(), st.randoms(use_true_random=False), st.integers(1, 4), st.integers(1, 20))
def test_a_table_in_any_order_and_any_chunks_gives_the_same_factors(factors, random, pieces, most_numbers):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_ARROW_NUMBERS", most_numbers)  # several arrays of lists
        table = factors.to_table("track_idx")
    order = list(range(len(factors)))
    random.shuffle(order)
    assert_same(Factors.from_table(shuffled(table, order, pieces), "track_idx", factors.rank), factors)


@given(some_factors(least=1))
@examples(max_examples=10)
def test_a_frame_gives_back_the_factors(spark, factors):
    frame = factors.to_frame(spark, "user_idx")
    assert frame.dtypes == [("user_idx", "int"), ("factors", "array<float>")]
    assert_same(collect(frame.orderBy("user_idx", ascending=False), "user_idx", LIMIT), factors)
    assert [row.user_idx for row in factors.idx_frame(spark, "user_idx").collect()] == factors.idx.tolist()


def test_no_factors_are_a_frame_without_rows(spark):
    none = Factors(np.empty(0, np.int32), np.empty((0, 3), np.float32))
    frame = none.to_frame(spark, "track_idx")
    assert (frame.columns, frame.count()) == (["track_idx", "factors"], 0)


@given(some_factors(), st.sets(INT32, max_size=4), st.data())
def test_the_union_of_a_subset_and_the_rest_is_the_whole(factors, more, data):
    chosen = [*data.draw(st.sets(st.sampled_from(factors.idx.tolist()))), *more] if len(factors) else [*more]
    some = factors.among(np.array(chosen, np.int64))
    rest = factors.where(~np.isin(factors.idx, chosen))
    assert set(some.idx) <= set(chosen)
    assert_same(rest.union(some), factors)


def test_one_index_in_both_sets_is_refused():
    ones = Factors(np.array([1, 4], np.int32), np.ones((2, 3), np.float32))
    with pytest.raises(DataCheckError, match="1 rows repeat an index"):
        ones.union(ones.where(ones.idx == 4))


def test_scaled_factors_keep_their_type():
    ones = Factors(np.array([1, 4], np.int32), np.ones((2, 3), np.float32))
    assert_same(ones.scaled(0.5), Factors(ones.idx, np.full((2, 3), 0.5, np.float32)))


@pytest.mark.parametrize(
    ("idx", "factors", "message"),
    [
        ([1, 2], [[1.0, 2.0, 3.0], [1.0]], "1 to 3 numbers"),
        ([1, 2], [[1.0, 2.0], [1.0, float("nan")]], "not finite"),
        ([1, 2], [[1.0, 2.0], [1.0, float("inf")]], "not finite"),
        ([1, 2], [[1.0, 2.0], [1.0, None]], "null"),
        ([1, 2], [[1.0, 2.0], None], "null"),
        ([7, 2, 7], [[1.0], [2.0], [1.0]], "1 rows repeat an index"),
    ],
)
def test_factors_that_contradict_themselves_are_refused(idx, factors, message):
    with pytest.raises(DataCheckError, match=message):
        Factors.from_table(table_of(idx, factors), "track_idx")


def test_a_length_other_than_the_rank_is_refused():
    with pytest.raises(DataCheckError, match="2 numbers; expected 3 numbers per row"):
        Factors.from_table(table_of([1], [[1.0, 2.0]]), "track_idx", rank=3)


def test_no_rows_have_the_rank_that_is_expected():
    none = table_of([], [])
    assert Factors.from_table(none, "track_idx").values.shape == (0, 0)
    assert Factors.from_table(none, "track_idx", rank=3).values.shape == (0, 3)


def test_frames_under_one_limit(spark):
    some = Factors(np.array([1, 4], np.int32), np.ones((2, 3), np.float32))
    frames = [some.to_frame(spark, "track_idx"), some.to_frame(spark, "track_idx").where("track_idx > 9")]
    first, second = collect_all(frames, "track_idx", LIMIT)
    assert_same(first, some)
    assert second.values.shape == (0, 3)
    longer = Factors(some.idx, np.ones((2, 4), np.float32)).to_frame(spark, "track_idx")
    with pytest.raises(DataCheckError, match="3 to 4 numbers"):
        collect_all([frames[0], longer], "track_idx", LIMIT)


def test_nothing_is_collected_over_the_limit(spark, monkeypatch):
    """Each frame fits the limit, but not both together."""
    rows = Factors(np.arange(800, dtype=np.int32), np.ones((800, 200), np.float32)).to_frame(spark, "track_idx")
    assert len(collect(rows, "track_idx", LIMIT)) == 800
    monkeypatch.setattr(Factors, "from_table", None)  # never called
    with pytest.raises(DataCheckError, match=r"1,600 rows by track_idx.* more than wmf\.max_broadcast_mb=1: lower wmf"):
        collect_all([rows, rows], "track_idx", LIMIT)


def test_the_limit_is_inclusive_and_counts_extra_bytes():
    limit = SizeLimit(1, "topn.broadcast_mb", "raise it", extra_bytes=64)
    assert limit.size(1024, 240) == 1.0
    limit.check({"track_idx": 1024}, 240)
    with pytest.raises(DataCheckError, match=r"1,000 rows by user_idx \+ 25 rows by track_idx.* \+ 64 bytes"):
        limit.check({"user_idx": 1000, "track_idx": 25}, 240)
