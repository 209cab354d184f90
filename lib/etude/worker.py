"""Making Spark's Python workers lean: what they do around every task, however small the task is.

Before each task a worker lets Python forget what it knows of the import path, upon which Python 3.11 reads the
directory of every archive on it again (pyspark's, the package's, and the whole spark-core jar: 0.1 s of processor
time); after each task it collects garbage over everything that was ever imported (0.05 s). The archives of an
application don't change while it runs, and imported modules are no garbage. 60 empty tasks: 8.7 s before, 0.1 s after.
"""

from __future__ import annotations

import gc
import zipimport
from functools import cache


@cache
def lean_worker() -> None:
    """Spare this worker process both, from its next task on. Call it inside tasks, after their imports."""
    zipimport.zipimporter.invalidate_caches = _keep  # type: ignore[method-assign,assignment]
    gc.collect()
    gc.freeze()


def _keep(importer: zipimport.zipimporter) -> None:
    """Instead of reading the archive's directory again."""
