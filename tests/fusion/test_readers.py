"""Test the contract of the batch readers: every library gives the same rows, batches and order."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etude import storage
from etude.errors import DataCheckError
from etude.fusion.readers import batches, epoch_batches, reader
from etude.fusion.readers.batches import _ahead
from etude.fusion.shards import Shard, training_turn
from fusion.planted import columns_of, plant, write_shards

READERS = ("arrow", "petastorm")
COLUMNS = ("mel", "has_mel", "artist_index", "tag_indices", "tag_weights", "target")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    columns = columns_of(plant(101))
    return columns, write_shards(tmp_path_factory.mktemp("shards") / "in a folder", columns, 8)


def rows_of(shard: Shard) -> pa.Table:
    system, path = storage.filesystem(shard.uri)
    return pq.ParquetFile(path, filesystem=system).read()


def epoch(name, shards, seed=1, epoch=1, rank=0, ranks=2, batch_size=7, columns=COLUMNS):
    turn = training_turn(shards, seed, epoch, rank, ranks, batch_size)
    return list(epoch_batches(reader(name), columns, turn, seed, epoch)), turn


@pytest.mark.parametrize("name", READERS)
def test_an_epoch_gives_the_tables_rows_once_over_all_ranks_but_the_dropped(name, stored):
    columns, shards = stored
    seen = []
    for rank in range(2):
        given, turn = epoch(name, shards, rank=rank)
        assert [len(rows["track_idx"]) for rows in given] == [turn.batch_size] * turn.steps
        seen += [track for rows in given for track in rows["track_idx"]]
        for rows in given:
            for column in COLUMNS:
                assert rows[column].dtype == columns[column].dtype
                np.testing.assert_array_equal(rows[column], columns[column][rows["track_idx"]])
    assert len(set(seen)) == len(seen) == 101 - turn.dropped
    assert turn.dropped > 0


@pytest.mark.parametrize("rank", (0, 1))
@pytest.mark.parametrize("number", (1, 2))
def test_readers_agree_on_every_batch(stored, rank, number):
    found = [epoch(name, stored[1], epoch=number, rank=rank)[0] for name in READERS]
    assert len(found[0]) == len(found[1]) > 0
    for one, other in zip(*found, strict=True):
        assert one.keys() == other.keys()
        for column in one:
            np.testing.assert_array_equal(one[column], other[column])


@pytest.mark.parametrize("name", READERS)
def test_order_is_the_seeds_and_the_epochs(name, stored):
    def order(**where):
        return np.concatenate([rows["track_idx"] for rows in epoch(name, stored[1], **where)[0]]).tolist()

    assert order() == order()
    assert order(epoch=2) != order()
    assert order(seed=2) != order()
    missing = [set(range(101)) - set(order(epoch=e, rank=0)) - set(order(epoch=e, rank=1)) for e in (1, 2, 3)]
    assert missing[0] != missing[1] != missing[2]


@pytest.mark.parametrize("name", READERS)
def test_evaluation_reads_every_row_once_in_order(name, stored):
    _, shards = stored
    given = list(batches(reader(name), ("target",), shards, 16))
    assert [len(rows["track_idx"]) for rows in given] == [16] * 6 + [5]
    assert np.concatenate([rows["track_idx"] for rows in given]).tolist() == list(range(101))
    assert list(batches(reader(name), ("target",), (), 16)) == []


@pytest.mark.parametrize("name", READERS)
def test_order_doesnt_depend_on_that_of_a_files_rows(name, stored, tmp_path):
    _, shards = stored
    moved = []
    for shard in shards:
        table = rows_of(shard)
        shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
        # Each file also has two row groups: the table's row count alone delimits a shard.
        pq.write_table(shuffled, tmp_path / f"{shard.number}.parquet", row_group_size=9)
        moved.append(Shard(shard.number, (tmp_path / f"{shard.number}.parquet").as_uri(), shard.rows))
    before, after = epoch(name, shards)[0], epoch(name, tuple(moved))[0]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one["track_idx"], other["track_idx"])
        np.testing.assert_array_equal(one["mel"], other["mel"])


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("wrong", (-1, 1))
def test_other_rows_than_the_table_counts_are_an_error(name, wrong, stored):
    shards = list(stored[1])
    shards[3] = Shard(3, shards[3].uri, shards[3].rows + wrong)
    with pytest.raises(DataCheckError, match=r"shard|more rows"):
        for rank in range(2):
            epoch(name, tuple(shards), rank=rank)


@pytest.mark.parametrize("name", READERS)
def test_arrays_of_different_lengths_are_an_error(name, tmp_path):
    file = tmp_path / "0.parquet"
    pq.write_table(pa.table({"track_idx": pa.array([0, 1], pa.int32()), "target": [[1.0, 2.0], [3.0]]}), file)
    with pytest.raises(DataCheckError, match="different lengths"):
        list(batches(reader(name), ("target",), (Shard(0, file.as_uri(), 2),), 2))


@pytest.mark.parametrize("name", READERS)
def test_only_the_columns_asked_for_are_read(name, stored, tmp_path):
    shard = stored[1][0]
    table = rows_of(shard)
    table = table.append_column("title", pa.array(["x"] * len(table))).append_column("target_2", table["target"])
    pq.write_table(table, tmp_path / "0.parquet")
    given = list(batches(reader(name), ("target",), (Shard(0, (tmp_path / "0.parquet").as_uri(), len(table)),), 50))
    assert set(given[0]) == {"track_idx", "target"}


def test_the_next_item_is_made_while_the_consumer_works():
    made = threading.Event()

    def items():
        yield 1
        made.set()
        yield 2

    ahead = _ahead(items())
    assert next(ahead) == 1
    assert made.wait(10)
    assert list(ahead) == [2]


def test_an_epoch_that_is_given_up_closes_its_files():
    closed = []

    def items():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    ahead = _ahead(items())
    assert next(ahead) == 0
    ahead.close()
    assert closed == [True]
