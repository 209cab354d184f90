"""Share whole runs of the jobs among the tests of the promises of docs/operating.md.

The jobs run by spark-submit. Those of `two_nights`, all of them, run as users run them: nothing is set but the cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
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
