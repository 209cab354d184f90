"""Share a small conservatoire and the jobs as programs among the cluster tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from standalone import Cluster

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "cluster"))
from standalone import stop  # noqa: E402

BIN = Path(sys.executable).parent
# Keeps the jobs small, but with every part: sound, catalogue, faulty rows, cold tracks, two ranks.
SIZES = ["wmf.rank=16", "wmf.iterations=30", "train.epochs=2", "topn.n=20"]
SESSION = ["--conf", "spark.sql.shuffle.partitions=4", "--conf", "spark.driver.memory=1g"]


@dataclass(frozen=True)
class Corpus:
    """Hold the conservatoire's files, and the settings that read them."""

    landing: Path

    def settings(self, lake: Path) -> list[str]:
        """Return the arguments of a job that reads this corpus into `lake`."""
        demo = ROOT / "conf" / "demo.yaml"
        here = [
            line.replace("build/demo/landing", str(self.landing)) for line in _overrides(demo, "build/demo/landing")
        ]
        return ["--config", str(demo), *here, f"lake.root={lake}", *SIZES]


def _overrides(demo: Path, folder: str) -> list[str]:
    """Return `key=value` for each setting of the overlay that names the folder."""
    from omegaconf import OmegaConf

    found: list[str] = []

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        elif folder in str(value):
            found.append(f"{prefix}={value}")

    walk("", OmegaConf.to_container(OmegaConf.load(demo)))
    return found


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Make a corpus of 200 learners, 120 tracks and 8,000 plays, with sound."""
    landing = tmp_path_factory.mktemp("corpus") / "landing"
    sizes = ["--users", "200", "--tracks", "120", "--events", "8000", "--seed", "3"]
    subprocess.run([str(BIN / "etude"), "demo-corpus", *sizes, str(landing)], check=True, stdin=subprocess.DEVNULL)
    return Corpus(landing)


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a job by spark-submit; its output goes to a file that a test may watch.

    spark-submit merges a Python job's standard error into its standard output; the JVM's goes to a second file.
    """
    running: list[subprocess.Popen] = []

    def run(where: list[str], job: str, arguments: list[str], log: Path) -> subprocess.Popen:
        command = [str(BIN / "spark-submit"), *where, *SESSION, str(ROOT / "jobs" / f"{job}.py"), *arguments]
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        with log.open("wb") as stdout, log.with_suffix(".err").open("wb") as stderr:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        running.append(process)
        return process

    yield run
    for process in running:
        stop(process)


@pytest.fixture(scope="session")
def run(start: Callable[..., subprocess.Popen]) -> Callable[..., dict]:
    """Run a job to its end, calling `watch` meanwhile if given; return its JSON line."""

    def job(where: list[str], name: str, arguments: list[str], folder: Path, watch: Callable[[], None] | None = None):
        log = folder / f"{name}.log"
        status = _ended(start(where, name, arguments, log), watch)
        assert status == 0, f"{name} ended with {status}:\n{log.read_text()[-3000:]}"
        return json_line(log)

    return job


@pytest.fixture(scope="session")
def fit_with_a_kill(start: Callable[..., subprocess.Popen]) -> Callable[..., None]:
    """Run wmf on a cluster, and kill one executor as by `kill -9` after the first iteration.

    Check before that its executors use the Python environment without Etude.
    """

    def fit(cluster: Cluster, arguments: list[str], folder: Path) -> None:
        log = folder / "wmf.log"
        wmf = start(cluster.submit_arguments(), "wmf", arguments, log)
        _wait_for("progress='factorising' done=1 ", wmf, log)
        commands = cluster.commands_of_executors()
        assert any(str(cluster.executor_python) in command for command in commands), commands
        cluster.executors()[0].kill()
        assert _ended(wmf) == 0, log.read_text()[-3000:]
        assert json_line(log)["status"] == "succeeded"
        assert "Lost executor" in log.with_suffix(".err").read_text(), "the kill came too late to test anything"

    return fit


def _ended(process: subprocess.Popen, watch: Callable[[], None] | None = None) -> int:
    """Return the exit status of a job; after 10 minutes, stop it with its Python driver."""
    limit = time.monotonic() + 600
    while process.poll() is None:
        if time.monotonic() > limit:
            stop(process)
            raise TimeoutError("the job took more than 10 minutes")
        if watch:
            watch()
        time.sleep(0.2)
    return process.returncode


def json_line(log: Path) -> dict:
    return json.loads(log.read_text().strip().splitlines()[-1])


def _wait_for(words: str, process: subprocess.Popen, log: Path) -> None:
    limit = time.monotonic() + 300
    while words not in log.read_text(errors="replace"):
        assert process.poll() is None, f"ended before {words!r}:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < limit, f"{words!r} did not appear within 5 minutes"
        time.sleep(0.05)
