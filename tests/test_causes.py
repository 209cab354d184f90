"""The one line of an error says what happened, not where it was noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.causes import cause_of
from etude.errors import DataCheckError

Py4JJavaError = type("Py4JJavaError", (Exception,), {})
PythonException = type("PythonException", (Exception,), {})


JAVA = """An error occurred while calling o579.parquet.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.abort(DAGScheduler.scala:1)
\t... 3 more
Caused by: org.apache.spark.SparkException: Task failed while writing rows.
\tat org.apache.spark.sql.Writer.write(Writer.scala:2)
Caused by: java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
\t... 14 more
"""
MEMORY = """An error occurred while calling None.org.apache.spark.api.java.JavaSparkContext.
: java.lang.IllegalArgumentException: System memory 314572800 must be at least 471859200. Please increase heap size
\tat org.apache.spark.memory.UnifiedMemoryManager$.getMaxMemory(UnifiedMemoryManager.scala:1)
"""
SILENT = """An error occurred while calling o1.fit.
: org.apache.spark.SparkException: Job aborted
Caused by: java.lang.NullPointerException
"""
WORKER = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/lib/etude/audio/plan.py", line 3, in list
    raise NotADirectoryError(20, path)
NotADirectoryError: [Errno 20] Not a directory: '/data/tone.wav'

\tat org.apache.spark.api.python.BasePythonRunner.handle(PythonRunner.scala:5)
"""
CHAINED = """An error occurred while calling o9.collect.
: org.apache.spark.SparkException: Job aborted due to stage failure
Caused by: org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "a.py", line 1, in f
    x = 1 / 0
ZeroDivisionError: division by zero

\tat org.apache.spark.api.python.BasePythonRunner.handle(PythonRunner.scala:5)
"""
RANK = """One or more processes exited with non-zero status, so the job was terminated. The first process to do so was:
Process name: [1]
Exit code: 137
"""
DISK = """Generic LocalFileSystem error
 ↳ Unable to write to /lake/plays/part-0.parquet
 ↳ No space left on device (os error 28)
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Py4JJavaError(JAVA), "Py4JJavaError: IOException: No space left on device"),
        (
            Py4JJavaError(MEMORY),
            "Py4JJavaError: IllegalArgumentException: System memory 314572800 must be at least 471859200. Please "
            "increase heap size",
        ),
        (Py4JJavaError(SILENT), "Py4JJavaError: SparkException: Job aborted"),
        (PythonException(WORKER), "PythonException: NotADirectoryError: [Errno 20] Not a directory: '/data/tone.wav'"),
        (Py4JJavaError(CHAINED), "Py4JJavaError: ZeroDivisionError: division by zero"),
        (ValueError("too small\nby far"), "ValueError: too small"),
        (KeyError(), "KeyError: "),
        (DataCheckError("first\nCaused by: a.B: second"), "first"),
        (OSError("open s3a://key:se/cret@bucket/lake failed"), "OSError: open s3a://***@bucket/lake failed"),
    ],
)
def test_the_line_names_the_cause(error, line):
    assert cause_of(error) == line


@pytest.mark.parametrize(
    ("error", "end"), [(RuntimeError(RANK), "[1] Exit code: 137"), (OSError(DISK), "(os error 28)")]
)
def test_a_first_line_that_says_nothing_is_followed_by_those_below(error, end):
    assert cause_of(error).endswith(end)


@given(st.text())
def test_any_text_gives_one_line(text):
    assert len(cause_of(RuntimeError(text)).splitlines()) <= 1
