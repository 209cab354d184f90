from __future__ import annotations

import subprocess
import sys
import zipfile

_IN_A_WORKER = """
import gc, importlib, sys, zipimport
sys.path.insert(0, sys.argv[1])
import first
from etude.worker import lean_worker
lean_worker()
read = []
real = zipimport._read_directory
zipimport._read_directory = lambda archive: (read.append(archive), real(archive))[1]
importlib.invalidate_caches()
assert not read, read
assert gc.get_freeze_count() > 1000
sys.path.insert(0, sys.argv[2])
import second
assert (first.value, second.value) == (1, 2)
"""


def archive(folder, name: str, value: int) -> str:
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{name}.py", f"value = {value}\n")
    return str(path)


def test_archives_are_not_read_again_and_new_ones_are_found(tmp_path):
    given = [archive(tmp_path, "first", 1), archive(tmp_path, "second", 2)]
    done = subprocess.run([sys.executable, "-c", _IN_A_WORKER, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
