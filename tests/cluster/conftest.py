"""What the cluster tests share: a small conservatoire, the jobs as programs, and the comparison of two lakes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "cluster"))

BIN = Path(sys.executable).parent
# Small, but with every part: sound, catalogue, faulty rows, cold tracks, two ranks.
SIZES = ["wmf.rank=16", "wmf.iterations=20", "wmf.engine=blocked", "train.epochs=2", "topn.n=20"]
SESSION = ["--conf", "spark.sql.shuffle.partitions=4", "--conf", "spark.driver.memory=1g"]


@dataclass(frozen=True)
class Corpus:
    """The conservatoire's files, and the settings that read them."""

    landing: Path

    def settings(self, lake: Path) -> list[str]:
        """Arguments of a job that reads this corpus into `lake`."""
        demo = ROOT / "conf" / "demo.yaml"
        here = [
            line.replace("build/demo/landing", str(self.landing)) for line in _overrides(demo, "build/demo/landing")
        ]
        return ["--config", str(demo), *here, f"lake.root={lake}", *SIZES]


def _overrides(demo: Path, folder: str) -> list[str]:
    """`key=value` for each setting of the overlay that names the folder."""
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
    """200 learners, 120 tracks, 8,000 plays, with sound."""
    landing = tmp_path_factory.mktemp("corpus") / "landing"
    sizes = ["--users", "200", "--tracks", "120", "--events", "8000", "--seed", "3"]
    subprocess.run([str(BIN / "etude"), "demo-corpus", *sizes, str(landing)], check=True, stdin=subprocess.DEVNULL)
    return Corpus(landing)


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a job by spark-submit; what it prints goes to a file that a test may watch.

    spark-submit joins a Python job's standard error with its standard output; the JVM's own goes to a second file.
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
        process.kill()
