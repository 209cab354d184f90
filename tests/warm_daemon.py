"""What forks the Python workers of the tests' session, with the large imports done and lean (see etude.worker).

Spark ends workers that were idle for a minute, so the tests have some fifty, each of which would import them anew. Jobs
keep PySpark's own daemon, as do the tests that start jobs by spark-submit.
"""

import runpy
from pathlib import Path

import numba  # noqa: F401
import pandas  # noqa: F401
import pyarrow  # noqa: F401
import pyspark.sql.pandas.serializers  # noqa: F401
import torch  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    # By path: workers that had imported etude here would never see the package that travels with the job.
    runpy.run_path(str(Path(__file__).parents[1] / "lib" / "etude" / "worker.py"))["lean_worker"]()
    manager()
