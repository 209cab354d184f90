"""What all tests share: one small Spark session, a fresh lake each, and the real inputs where they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from etude.config.lake import LakeSettings, SparkSettings
from etude.doctor import toolchain
from etude.lake import Lake
from etude.small_session import INTERPRETED

ROOT = Path(__file__).resolve().parents[1]
SMALL_SPARK = {
    "spark.master": "local[2]",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Tests end before the optimising compiler has paid for itself, but without it Java keeps only 48 MB of compiled
    # code, and would drop some and compile it anew. One thread of garbage collection is enough, and seldom has to run
    # where it has room.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC -Xms2g "
    "-Xmn512m",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.default.parallelism": "2",
    # For tables that are read once or twice.
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    # PySpark notes for each column expression which line of Python made it, and Java its own: a quarter of the time of
    # small queries. The text of each plan that a page would show: a tenth.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.sql.dataFrameQueryContext.enabled": "false",
    "spark.sql.ui.explainMode": "simple",
}
# How long an example takes depends on what else the machine does: no property is about that.
hypothesis.settings.register_profile("etude", deadline=None)
hypothesis.settings.load_profile("etude")


class _ByFile(LoadFileScheduling):
    """Keep the tests of a file in one process, and those of the promises, which share whole runs of jobs."""

    def _split_scope(self, nodeid: str) -> str:
        return "promises" if nodeid.startswith("tests/promises/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    """Return the scheduler that pytest-xdist uses."""
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the promises first: the longest part of the suite must not be left for the end."""
    items.sort(key=lambda item: "promises" not in item.path.parts)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The one session of the unit tests."""
    from etude.session import build_session

    folder = tmp_path_factory.mktemp("spark")
    settings = {
        **SMALL_SPARK,
        **INTERPRETED,
        "spark.python.daemon.module": "warm_daemon",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
    }
    # Both are read when Java starts: jobs that tests start have their own.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_SUBMIT_ARGS", _submit_arguments(settings))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        session = build_session("tests", SparkSettings(snapshot_partitions=1), LakeSettings(root=str(folder / "lake")))
    yield session
    session.stop()


def _submit_arguments(settings: dict[str, str]) -> str:
    return " ".join([*(f"--conf '{key}={value}'" for key, value in settings.items()), "pyspark-shell"])


@pytest.fixture(scope="session")
def small_session() -> dict[str, str]:
    """The environment in which a command starts as small a session as that of the unit tests."""
    return {**os.environ, "PYSPARK_SUBMIT_ARGS": _submit_arguments({**SMALL_SPARK, **INTERPRETED})}


@pytest.fixture
def lake(spark, tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(str(tmp_path / "lake"), spark)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real inputs; the test is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real inputs (../shared/data) are not here")
    return folder


@pytest.fixture
def needs_horovod() -> None:
    """Horovod, to import: the test is skipped where it can't be built, and fails where it could have been."""
    lacking = toolchain.lacking()
    if importlib.util.find_spec("horovod") is None and lacking:
        pytest.skip(f"Horovod is not built here: it needs {lacking}")
    import horovod.torch as hvd

    assert hvd.gloo_built()


@pytest.fixture(scope="session")
def submit_command() -> Callable[..., list[str]]:
    """Return the command that runs a job by the environment's own spark-submit: a job's name, then its arguments.

    A path without .py stands for a program that isn't among the jobs. `as_users` sets nothing but two cores. Otherwise
    the session is that of the unit tests.
    """
    binary = Path(sys.executable).with_name("spark-submit")
    if not binary.exists():
        found = shutil.which("spark-submit")
        assert found, "no spark-submit in the environment"
        binary = Path(found)

    def command(job: str, *arguments: str, as_users: bool = False) -> list[str]:
        settings = {"spark.master": "local[2]"} if as_users else {**SMALL_SPARK, **INTERPRETED}
        given = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
        return [str(binary), *given, str(ROOT / "jobs" / f"{job}.py"), *arguments]

    return command


@pytest.fixture(scope="session")
def submit(submit_command) -> Callable[..., subprocess.CompletedProcess]:
    """Run a job by `submit_command` to its end."""

    def run(job: str, *arguments: str, env: dict[str, str] | None = None, timeout: float = 900, as_users: bool = False):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            submit_command(job, *arguments, as_users=as_users),
            env={**os.environ, "PATH": path, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small lake with every table and finished runs; to be read only."""
    from small_lake import build

    return build(tmp_path_factory.mktemp("small") / "lake")
