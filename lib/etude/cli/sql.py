"""Run one SQL query on the lake; tables and `<table>_current` views are known by name.

`SELECT * FROM recommendations_current` and `SELECT * FROM etude.recommendations_current` both return the served lists.
A query that would write is refused.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from etude import scratch, storage
from etude.cli._aligned import aligned, write_csv, write_json
from etude.cli._lake import add_lake_options, settings_of
from etude.config import Settings
from etude.errors import SettingsError
from etude.lake import views
from etude.lake.lake import require_lake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_READS = ("select", "with", "from", "values", "table", "describe", "desc", "show", "explain", "(")
_WRITES = re.compile(r"^[\s:+|-]*'?(Insert|Delete|Update|Merge|Overwrite|Create|Drop|Append)\w*", re.MULTILINE)
_QUIET = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "sql", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "query",
        metavar="QUERY",
        help="a SELECT (or WITH, VALUES, DESCRIBE, SHOW, EXPLAIN), or - to read it from standard input",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print comma-separated values")
    form.add_argument("--json", action="store_true", help="print one JSON object per row")
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="largest number of rows (default: %(default)s; 0: all)"
    )
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the query and print its rows.

    Raises:
        SettingsError: the query is wrong or would write.
        InputMissingError: there is no lake.
    """
    text = sys.stdin.read() if args.query == "-" else args.query
    check_reads(text)
    settings = settings_of(args)
    require_lake(storage.to_uri(settings.lake.root))
    with quiet_session(settings) as spark:
        columns, rows, more = fetch(spark, settings.lake.root, text, args.limit, as_json=args.json)
        form = "csv" if args.csv else "json" if args.json else "table"
        for line in show(columns, rows, more, args.limit, form, views.mentioned(text)):
            print(line, file=sys.stderr)
    return 0


def check_reads(text: str) -> None:
    """Refuse a statement that doesn't begin like a query.

    Raises:
        SettingsError: the statement may write.
    """
    bare = re.sub(r"\A(\s|--[^\n]*(\n|\Z)|/\*.*?\*/)*", "", text, flags=re.DOTALL).lower()
    if not bare.startswith(_READS):
        raise SettingsError(
            "only queries are allowed (SELECT, WITH, VALUES, DESCRIBE, SHOW, EXPLAIN); only jobs write to the lake"
        )


def fetch(
    spark: SparkSession, root: str, text: str, limit: int, as_json: bool = False
) -> tuple[list[str], list[Any], bool]:
    """Return column names, at most `limit` rows (0: all), and whether there are more.

    Raises:
        SettingsError: Spark can't analyse the query or compute its rows, or it would write, or two columns have one
            name, which a JSON object can't have.
    """
    from pyspark.errors import PySparkException

    try:
        _check_plan(spark, text)
        frame = views.query(spark, root, text)
        twice = [name for name, n in Counter(frame.columns).items() if n > 1]
        if as_json and twice:
            raise SettingsError(f"--json: two columns are named {twice[0]!r}; give one of them another name by AS")
        rows = _rows(frame, limit)
    except PySparkException as error:
        raise SettingsError(_one_line(str(error))) from error
    more = bool(limit) and len(rows) > limit
    return frame.columns, rows[:limit] if limit else rows, more


def show(columns: list[str], rows: list[Any], more: bool, limit: int, form: str, names: set[str]) -> Iterator[str]:
    """Print the rows; yield notes for standard error."""
    if form == "csv":
        write_csv(columns, rows)
    elif form == "json":
        write_json(columns, (_plain(row) for row in rows))
    else:
        print(aligned(columns, rows))
    if more:
        yield f"only the first {limit} rows are shown; --limit N shows more, --limit 0 all"
    elif not rows and any(name.endswith(("_current", "_latest")) for name in names):
        yield "no rows: `_current` shows served rows, and only topn runs with evaluation.protocol=none are published"


@contextmanager
def quiet_session(settings: Settings) -> Iterator[SparkSession]:
    """Start a session that logs errors only, unless PYSPARK_SUBMIT_ARGS is set."""
    from etude.session import spark_session

    options = " ".join(f"--conf {key}={value}" for key, value in _QUIET.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    # This logger prints the whole stack for a misspelt column.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=scratch.folder(tempfile.gettempdir())) as folder:
        # A query writes nothing to the lake, not even a checkpoint folder.
        options_here = settings.spark.model_copy(update={"checkpoint_dir": storage.to_uri(folder)})
        with spark_session("etude sql", options_here, settings.lake) as spark:
            yield spark


def _rows(frame: DataFrame, limit: int) -> list[Any]:
    return frame.limit(limit + 1).collect() if limit else list(frame.toLocalIterator())


def _check_plan(spark: SparkSession, text: str) -> None:
    """Check the parsed plan, since WITH and FROM can also introduce an INSERT."""
    plan = spark._jsparkSession.sessionState().sqlParser().parsePlan(text)
    if _WRITES.search(plan.treeString()):
        raise SettingsError("the query would write; only jobs write to the lake")


def _plain(row: Any) -> list[Any]:
    return list(row.asDict(recursive=True).values())


def _one_line(message: str) -> str:
    """Return the first line of a Spark message, without the SQLSTATE."""
    return message.strip().splitlines()[0].split(" SQLSTATE:")[0]
