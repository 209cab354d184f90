"""Share whole runs of the jobs among the tests of the promises of docs/operating.md.

The jobs run by spark-submit. Those of `two_nights`, all of them, run as users run them: nothing is set but the cores.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from killing import Job
from kills import UMASK, Kills, to_kill
from nights import FIRST, SECOND, Nights, write_nights

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ran:
    """Hold what jobs left: the lake, their JSON lines in their order, and all that they printed."""

    lake: Path
    lines: list[dict]
    said: str


@dataclass(frozen=True)
class Backwards:
    """Hold a lake with the second night alone, and one in which the first night came after it."""

    second: Path
    both: Path


@pytest.fixture(scope="session")
def nights(tmp_path_factory) -> Nights:
    """Write the logs of two nights."""
    return write_nights(tmp_path_factory.mktemp("nights") / "landing")


@pytest.fixture(scope="session")
def submit_all(submit) -> Callable[..., Ran]:
    """Run several jobs by one spark-submit; each is a list of its name and its arguments."""

    def run(lake: Path, jobs: list[list[str]], env: dict[str, str] | None = None, as_users: bool = False) -> Ran:
        done = submit(str(HERE / "several"), json.dumps(jobs), env=env, as_users=as_users)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"job"')]
        assert [line["job"] for line in lines] == [job[0] for job in jobs], said[-3000:]
        return Ran(lake, lines, said)

    return run


@pytest.fixture(scope="session")
def two_nights(nights, submit_all, tmp_path_factory) -> Ran:
    """Run all jobs of two nights, and then an ingest that fails, in a lake that is to be read only."""
    lake = tmp_path_factory.mktemp("two_nights") / "lake"
    first = ["ingest", *nights.arguments("ingest", lake, night=FIRST)]
    report = ["report", *nights.arguments("report", lake)]
    done = submit_all(lake, [first, *nights.chain(lake), report, nights.headless(lake)], as_users=True)
    assert [line["status"] for line in done.lines] == ["succeeded"] * 7 + ["failed"], done.said[-3000:]
    return done


@pytest.fixture(scope="session")
def backwards(nights, submit_all, tmp_path_factory) -> Backwards:
    """Ingest the second night alone in one lake, and the first night after it in another; both to be read only."""
    folder = tmp_path_factory.mktemp("backwards")
    alone, backfilled = folder / "alone" / "lake", folder / "backfilled" / "lake"
    ingests = ((alone, SECOND), (backfilled, SECOND), (backfilled, FIRST))
    jobs = [["ingest", *nights.arguments("ingest", lake, night=night)] for lake, night in ingests]
    done = submit_all(backfilled, jobs)
    assert {line["status"] for line in done.lines} == {"succeeded"}, done.said[-3000:]
    return Backwards(alone, backfilled)


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """The variables by which Python and Java put the killed jobs' temporary files into a folder of their own."""
    folder = tmp_path_factory.mktemp("temporary")
    kernels = os.environ.get("NUMBA_CACHE_DIR") or f"{tempfile.gettempdir()}/etude-kernels-{os.getuid()}"
    return {
        "TMPDIR": str(folder),
        "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={folder}",
        "NUMBA_CACHE_DIR": kernels,  # not compiled anew
    }


@pytest.fixture(scope="session")
def kills(nights, two_nights, backwards, submit_command, environment, tmp_path_factory) -> Kills:
    """Kill each job, in a lake of its own."""
    jobs = to_kill(backwards.second, two_nights.lake, nights, tmp_path_factory.mktemp("kills"))
    temporary, litter = Path(environment["TMPDIR"]), {}
    for point, job in jobs.items():
        job.kill(submit_command, environment)
        litter[point] = [each.name for each in temporary.iterdir()]
    return Kills(jobs, temporary, litter)


@pytest.fixture(scope="session")
def killed(kills) -> dict[str, Job]:
    """Return the killed jobs by point; their lakes are to be read only."""
    return kills.jobs


@pytest.fixture(scope="session")
def repaired(killed, environment, submit_all) -> dict[str, Job]:
    """Run each job again by the same arguments, under a umask; the lakes are to be read only."""
    commands = [[job.name, *job.arguments, *job.resume] for job in killed.values()]
    before = os.umask(UMASK)
    try:
        done = submit_all(killed["users"].root, commands, env=environment)
    finally:
        os.umask(before)
    assert {line["status"] for line in done.lines} == {"succeeded"}, done.said[-3000:]
    return killed
