"""What jobs leave beside rows: permissions by the umask, and no temporary files, even after a kill."""

from __future__ import annotations

import getpass
import stat

import pytest
from kills import POINTS

from conftest import UMASK

pytestmark = pytest.mark.slow


LASTING = f"torchinductor_{getpass.getuser()}"
"""torch makes this empty folder for code that it compiles; all later programs use the same one."""


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_job_leaves_one_folder_and_removes_that_of_the_job_before(kills, point):
    (left,) = set(kills.litter[point]) - {LASTING}
    assert left.startswith("etude-run-")


def test_jobs_that_end_leave_nothing(kills, repaired):
    assert {each.name for each in kills.temporary.iterdir()} <= {LASTING}


@pytest.mark.parametrize("point", POINTS)
def test_every_new_file_has_the_permissions_of_the_umask(repaired, point):
    for each in new_files(repaired[point]):
        allowed = 0o777 if each.is_dir() else 0o666
        assert stat.S_IMODE(each.stat().st_mode) == allowed & ~UMASK, each


def test_both_libraries_that_write_tables_wrote_some(repaired):
    """Spark leaves checksum files beside what it writes, deltalake does not."""
    written = [each for each in new_files(repaired["wmf"]) if each.suffix == ".crc"]
    assert written
    others = [each for each in new_files(repaired["topn"]) if each.suffix == ".parquet"]
    assert any(not each.with_name(f".{each.name}.crc").exists() for each in others)


def new_files(job):
    known = {each.relative_to(job.left) for each in job.left.rglob("*")}
    return [each for each in job.root.rglob("*") if each.relative_to(job.root) not in known]
