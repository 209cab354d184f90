"""Run several jobs one after the other as one program, so that tests start Java once for all of them.

The argument is JSON: a list of jobs, each a list of its name and its arguments. Each job has a Spark session of its own
and prints its JSON line; the exit status is 0 if all jobs ran, whether they succeeded or not.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from etude.job import run_program

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))

for name, *arguments in json.loads(sys.argv[1]):
    job = import_module(name)
    print(run_program(name, job.run, job.__doc__, arguments).line, flush=True)
