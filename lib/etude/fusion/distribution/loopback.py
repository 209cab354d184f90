"""Keep the ranks of a local master on this machine: their services listen on loopback only."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from etude.session import LOOPBACK


def interface() -> str:
    """Return the name of the loopback interface: `lo` on Linux, `lo0` on macOS."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


@contextmanager
def horovod_on_loopback() -> Iterator[None]:
    """Let the services of horovod.spark.run listen on loopback while the body runs.

    Horovod binds them to all interfaces, and no argument changes that. Its driver and its Spark tasks choose every
    address by one function, which is replaced in their processes.
    """
    import horovod.spark.runner as runner

    make = runner._make_mapper
    try:
        with _listening_on_loopback():
            runner._make_mapper = lambda *given: partial(_mapped, make(*given))
            yield
    finally:
        runner._make_mapper = make


def _mapped(mapper: Callable[..., Iterator[Any]], index: int, rows: Iterator[Any]) -> Iterator[Any]:
    """Run one of Horovod's Spark tasks."""
    with _listening_on_loopback():
        yield from mapper(index, rows)


@contextmanager
def _listening_on_loopback() -> Iterator[None]:
    from horovod.runner.common.util import network
    from horovod.runner.http import http_server

    before = network.find_port
    network.find_port = http_server.find_port = _listen
    try:
        yield
    finally:
        network.find_port = http_server.find_port = before


def _listen(make_server: Callable[[tuple[str, int]], Any]) -> tuple[Any, int]:
    server = make_server((LOOPBACK, 0))
    return server, int(server.server_address[1])
