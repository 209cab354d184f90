"""Messages reach every member of a ring, and no stranger is one."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import numpy as np
import pytest
from rings import Together

from etude.factors.barrier import ring as rings
from etude.factors.barrier.ring import Door, PeerLostError, Ring, new_key


@pytest.mark.parametrize("size", [1, 2, 5])
def test_all_members_learn_all_messages(size):
    found = Together(size).run(lambda rank, door: door.join(rank, range(size)).gather(b"%d" % rank * 100_000))
    assert found == [[b"%d" % rank * 100_000 for rank in range(size)]] * size


def test_no_member_goes_on_before_all_have_called():
    reached = []

    def member(rank, door):
        ring = door.join(rank, range(3))
        reached.append(rank)
        ring.gather()
        assert len(reached) == 3

    Together(3).run(member)


@pytest.mark.parametrize("parts", [[[2], [3]], [[1, 4], [], [2]], [[300_000], [1, 1, 1], [7, 7], [0]]])
def test_buffers_are_filled_with_those_of_their_member(parts):
    """The members have different numbers of buffers, some of them empty."""
    expected = [
        [np.full(n, 10 * place + at, np.uint8) for at, n in enumerate(sizes)] for place, sizes in enumerate(parts)
    ]

    def member(rank, door):
        buffers = [
            [each.copy() if place == rank else np.zeros_like(each) for each in of_place]
            for place, of_place in enumerate(expected)
        ]
        door.join(rank, range(len(parts))).exchange([[each.data for each in of_place] for of_place in buffers])
        return buffers

    for buffers in Together(len(parts)).run(member):
        for found, wanted in zip(buffers, expected, strict=True):
            assert all((a == b).all() for a, b in zip(found, wanted, strict=True))


def test_some_ranks_can_have_a_second_ring():
    def member(rank, door):
        everybody = door.join(rank, range(4))
        some = door.join(rank, [1, 3]) if rank in (1, 3) else None
        everybody.gather()
        return some.gather(b"%d" % rank) if some else None

    assert Together(4).run(member) == [None, [b"1", b"3"], None, [b"1", b"3"]]


def test_a_stranger_is_turned_away():
    def member(rank, door):
        if rank == 1:  # comes late: strangers knock at the door of rank 0 before
            host, _, port = door._addresses[0]
            with pytest.raises((AuthenticationError, EOFError, ConnectionError)):
                Client((host, int(port)), authkey=new_key())
            socket.create_connection((host, int(port))).close()
        return door.join(rank, range(2)).gather(b"%d" % rank)

    assert Together(2).run(member) == [[b"0", b"1"]] * 2


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_stranger_that_stays_costs_some_seconds(said, monkeypatch):
    """One that says nothing, or something else than ranks do."""
    monkeypatch.setattr(rings, "_GREETING_S", 1)
    strangers = []

    def member(rank, door):
        if rank == 1:
            strangers.append(socket.create_connection((door._addresses[0][0], int(door._addresses[0][2]))))
            strangers[0].sendall(said)
        return door.join(rank, range(2)).gather(b"%d" % rank)

    assert Together(2).run(member) == [[b"0", b"1"]] * 2
    strangers[0].close()


def test_a_member_that_can_not_be_reached_is_named_and_not_waited_for():
    """It waits for a connection too, of a member that doesn't call."""

    def member(rank, door):
        if rank == 1:
            door._addresses[2] = ("executor-2.invalid", " ", "7")
            with pytest.raises(PeerLostError, match=r"rank 1 can't reach rank 2 at executor-2.invalid:7 \("):
                door.join(rank, range(3))

    Together(3).run(member)


def test_a_member_that_goes_is_missed(monkeypatch):
    monkeypatch.setattr(rings, "_NOTICED_S", 0.0)
    gone = threading.Event()

    def member(rank, door):
        ring: Ring = door.join(rank, range(2))
        if rank == 0:
            ring.close()
            gone.set()
            return
        gone.wait()
        with pytest.raises(PeerLostError, match="rank 1 of 2 lost a neighbour"):
            ring.gather(b"hello")

    Together(2).run(member)


def test_a_host_that_others_reach_by_name_listens_on_all_addresses():
    with ThreadPoolExecutor(2) as threads:
        barrier, told = threading.Barrier(2), ["", ""]
        key = new_key()

        def member(rank):
            def announce(text):
                told[rank] = text
                barrier.wait()
                return told

            door = Door("localhost", key, announce)
            try:
                return door.join(rank, range(2)).gather(b"%d" % rank)
            finally:
                door.close()

        assert [each.result() for each in [threads.submit(member, rank) for rank in (0, 1)]] == [[b"0", b"1"]] * 2
