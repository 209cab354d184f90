"""With a local master, no process of a job uses an address that another machine can reach."""

from __future__ import annotations

import ipaddress
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from etude.lake import Lake

pytestmark = pytest.mark.slow

PROGRAMS = ("org.apache.spark.deploy.SparkSubmit", "pyspark.daemon", "horovod.spark.task.gloo_exec_fn")


def sockets() -> set[tuple[str, str]]:
    """Return program and own address of every open socket of this process's children, at any remove.

    A rank's gloo listens for an instant only; what connected to it keeps the address that it listened on.
    """
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            name = next((known for known in PROGRAMS if known in " ".join(process.cmdline())), process.name())
            found |= {(name, each.laddr.ip) for each in process.net_connections(kind="inet") if each.laddr}
    return found


@pytest.fixture(scope="module")
def seen(nights, two_nights, submit_all, tmp_path_factory) -> set[tuple[str, str]]:
    """Run train with two ranks by each distribution, as users run it; return all sockets seen meanwhile."""
    root = shutil.copytree(two_nights.lake, tmp_path_factory.mktemp("loopback") / "lake")
    ranks = {
        name: ("--run-id", name, f"train.distribution={name}", "train.workers=2", "train.epochs=1")
        for name in ("torch", "auto")
    }
    jobs = [["train", *nights.arguments("train", root, *more)] for more in ranks.values()]
    found: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(submit_all, root, jobs, as_users=True)
        while not running.done():
            found |= sockets()
            time.sleep(0.5)
        done = running.result()
    assert [line["status"] for line in done.lines] == ["succeeded"] * 2, done.said[-3000:]
    for name, chosen, line in zip(ranks, ("torch", "horovod"), done.lines, strict=True):
        assert f"distribution={chosen} ranks=2" in done.said
        assert Lake(str(root)).count("predicted_factors", run_id=name) == line["rows"]["predicted_factors"] > 0
    return found


def test_only_loopback_is_used(needs_horovod, seen):
    assert not {(name, ip) for name, ip in seen if not is_loopback(ip)}


def is_loopback(ip: str) -> bool:
    """Java binds addresses of IPv4 by sockets of IPv6."""
    address = ipaddress.ip_address(ip.removeprefix("::ffff:"))
    return address.is_loopback


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_services_were_seen(needs_horovod, seen, program):
    assert program in {name for name, _ in seen}
