"""Test shards: their number, the deal to the ranks, and the number of steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import DataCheckError
from etude.fusion.shards import Shard, shard_count, share_of, training_turn


def shards(*rows: int) -> tuple[Shard, ...]:
    return tuple(Shard(number, f"file:///{number}", n) for number, n in enumerate(rows))


@pytest.mark.parametrize(
    ("rows", "ranks", "expected"),
    [(1000, 2, 8), (1000, 3, 12), (7, 2, 6), (3, 2, 2), (1, 2, 1), (0, 2, 0)],
)
def test_shards_are_four_a_rank_where_rows_suffice(rows, ranks, expected):
    assert shard_count(rows, row_bytes=100, ranks=ranks, shard_bytes=2**20) == expected


def test_large_rows_make_more_shards():
    # 10,000 rows of 24 KB are 240 MB: 8 shards (7.2) at 32 MB per shard; at 16 MB 15, rounded to 16 for two ranks.
    assert shard_count(10_000, 24_000, 2, 32 * 2**20) == 8
    assert shard_count(10_000, 24_000, 2, 16 * 2**20) == 16


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 64), st.integers(1, 9))
def test_turns_deal_every_shard_once_and_agree_on_steps(rows, ranks, batch_size, epoch):
    given_shards = shards(*rows)
    if len(rows) < ranks:
        with pytest.raises(DataCheckError, match="too few"):
            training_turn(given_shards, 1, epoch, 0, ranks, batch_size)
        return
    turns = [training_turn(given_shards, 1, epoch, rank, ranks, batch_size) for rank in range(ranks)]
    dealt = sorted(shard.number for turn in turns for shard in turn.shards)
    assert dealt == list(range(len(rows)))
    assert len({(turn.steps, turn.batch_size, turn.dropped) for turn in turns}) == 1
    assert turns[0].steps >= 1
    least = min(sum(shard.rows for shard in turn.shards) for turn in turns)
    assert turns[0].steps * turns[0].batch_size <= least
    assert turns[0].dropped == sum(rows) - ranks * turns[0].steps * turns[0].batch_size


def test_order_changes_with_epoch_and_seed_and_with_nothing_else():
    given_shards = shards(*[10] * 8)

    def order(seed, epoch):
        return [shard.number for shard in training_turn(given_shards, seed, epoch, 0, 2, 4).shards]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(1, epoch)) for epoch in range(1, 9)}) > 4
    assert order(1, 1) != order(2, 1)


def test_shares_of_validation_shards_are_a_partition():
    parts = [share_of(shards(3, 4, 5), rank, 2) for rank in range(2)]
    assert [[shard.number for shard in part] for part in parts] == [[0, 2], [1]]
