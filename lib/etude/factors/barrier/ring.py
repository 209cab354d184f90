"""Pass messages among ranks around a ring: each hears from the one before it and tells the one after it.

A ring of n members takes n - 1 steps to bring everybody's message to everybody, and sends every byte over each
connection once. Links with members further away bring a member just what it asks for. The connections are those of
multiprocessing, which check that both ends know the same key.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from typing import Any

from etude.session import LOOPBACK

Announce = Callable[[str], Sequence[str]]
"""Tell all ranks a text, and return the texts of all by rank, as BarrierTaskContext.allGather does."""

_NOTICED_S = 3.0
"""Time for a failed neighbour to report its own error."""

_GREETING_S, _LONGEST_GREETING = 10, 20
"""Time, and number of bytes, for a connection to say whose it is."""


class PeerLostError(Exception):
    """Tell that a rank's neighbour has gone; the reason is in the neighbour."""


def new_key() -> bytes:
    """Return a secret that the members of a ring share."""
    return secrets.token_bytes(32)


class Link:
    """Hold a member's connections to one member that it hears and one that it tells."""

    def __init__(self, name: str, before: Connection[Any, Any], after: Connection[Any, Any]):
        """Use connections that a `Door` made; `name` says whose they are."""
        self._name, self._before, self._after = name, before, after
        self._sender = ThreadPoolExecutor(1)

    def pass_on(self, message: bytes | memoryview, into: memoryview | None = None) -> bytes:
        """Send a message while another one comes in: into a buffer, if one is given.

        Raises:
            PeerLostError: one of the two members has gone.
        """
        try:
            sent = self._sender.submit(self._after.send_bytes, message)
            received = b""
            if into is None:
                received = self._before.recv_bytes()
            else:
                self._before.recv_bytes_into(into)
            sent.result()
        except (EOFError, OSError) as error:
            time.sleep(_NOTICED_S)  # Spark takes the first error as the cause, which should be the neighbour's own
            raise PeerLostError(f"{self._name} lost a neighbour: {error!r}") from error
        return received

    def close(self) -> None:
        """Close the connections."""
        self._sender.shutdown(wait=False)
        self._before.close()
        self._after.close()


class Ring:
    """Hold a member's place among `size` members, and its link to both neighbours."""

    def __init__(self, place: int, size: int, link: Link | None):
        """Use a link that a `Door` made; None for the only member of a ring."""
        self.place, self.size = place, size
        self._link = link

    def gather(self, mine: bytes = b"") -> list[bytes]:
        """Return the messages of all members by place. No member returns before all have called."""
        found = [b""] * self.size
        found[self.place] = mine
        for step in range(self.size - 1):
            found[(self.place - step - 1) % self.size] = self._pass_on(found[(self.place - step) % self.size])
        return found

    def exchange(self, parts: Sequence[Sequence[memoryview]]) -> None:
        """Fill every member's buffers with what they hold at that member.

        Args:
            parts: writable buffers of bytes by place, each member's as long everywhere.
        """
        rounds = max(map(len, parts))
        for step in range(self.size - 1):
            mine = parts[(self.place - step) % self.size]
            theirs = parts[(self.place - step - 1) % self.size]
            for n in range(rounds):
                self._pass_on(mine[n] if n < len(mine) else b"", theirs[n] if n < len(theirs) else None)

    def _pass_on(self, message: bytes | memoryview, into: memoryview | None = None) -> bytes:
        assert self._link is not None
        return self._link.pass_on(message, into)

    def close(self) -> None:
        """Close the connections."""
        if self._link is not None:
            self._link.close()


class Door:
    """Listen for neighbours, and connect to theirs: a rank's way into several rings."""

    def __init__(self, host: str | None, key: bytes, announce: Announce):
        """Open a port of all addresses, or of one host's (loopback), and tell the other ranks.

        Args:
            host: name under which other ranks reach this one; None listens on loopback only.
            key: secret of the ranks.
            announce: tells all ranks a text.
        """
        self._key = key
        everywhere = socket.has_dualstack_ipv6()
        family = "AF_INET6" if host is not None and everywhere else "AF_INET"
        bound = LOOPBACK if host is None else "::" if everywhere else "0.0.0.0"
        self._listener = Listener((bound, 0), family)  # without the key: `_greeted` asks for it, but not forever
        mine = f"{LOOPBACK if host is None else host} {self._listener.address[1]}"
        self._addresses = [text.rpartition(" ") for text in announce(mine)]
        self._came: dict[int, list[Connection[Any, Any]]] = defaultdict(list)

    def join(self, rank: int, members: Sequence[int]) -> Ring:
        """Make the ring of some ranks, this one among them."""
        place, size = members.index(rank), len(members)
        return Ring(place, size, None if size == 1 else self.link(rank, members, 1))

    def link(self, rank: int, members: Sequence[int], step: int) -> Link:
        """Connect to the members that stand `step` places before and after this one, around the ring of members.

        All of them must ask for their links in the same order.

        Raises:
            PeerLostError: one of them can't be reached.
        """
        place, size = members.index(rank), len(members)
        other = members[(place + step) % size]
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(self._accept, members[(place - step) % size])
            try:
                going = self._connect(rank, other)
            except OSError as error:
                self._wake()
                host, _, port = self._addresses[other]
                raise PeerLostError(f"rank {rank} can't reach rank {other} at {host}:{port} ({error})") from error
            return Link(f"rank {place} of {size}", coming.result(), going)

    def _accept(self, rank: int) -> Connection[Any, Any]:
        """Return the next connection of a rank; those of others, which are ahead, are kept for later."""
        while not self._came[rank]:
            try:
                made = self._listener.accept()
            except ConnectionError:  # gone again
                continue
            try:
                self._came[self._greeted(made)].append(made)
            except (AuthenticationError, EOFError, OSError, ValueError):  # a stranger
                made.close()
        return self._came[rank].pop(0)

    def _greeted(self, made: Connection[Any, Any]) -> int:
        """Return whose connection it is, after both ends have shown that they know the key."""
        with socket.socket(fileno=os.dup(made.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _GREETING_S, 0))
            deliver_challenge(made, self._key)
            answer_challenge(made, self._key)
            rank = int(made.recv_bytes(_LONGEST_GREETING))
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
        return rank

    def _wake(self) -> None:
        """Let the thread that waits for a connection fail: closing the listener wouldn't wake it."""
        with suppress(OSError):
            self._listener._listener._socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    def _connect(self, rank: int, other: int) -> Connection[Any, Any]:
        host, _, port = self._addresses[other]
        family, *_, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        made = Client(
            (str(address[0]), int(port)), "AF_INET6" if family == socket.AF_INET6 else "AF_INET", authkey=self._key
        )
        made.send_bytes(b"%d" % rank)
        with socket.socket(fileno=os.dup(made.fileno())) as same:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # messages are small, and are waited for
        return made

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
