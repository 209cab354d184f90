"""Register the lake as the schema `etude` of a session: every table, and `<table>_current` for what is served.

    from etude.lake import views
    views.register(spark, "build/demo/lake")
    spark.sql("SELECT * FROM etude.recommendations_current").show()

Path tables vanish from Spark's in-memory catalog with the session, so each session registers them again. That costs a
look at each Delta log; `names` limits it to those that are needed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from etude.lake.conditions import quoted
from etude.lake.lake import Lake
from etude.lake.schema import Table
from etude.lake.tables import TABLES
from etude.stages import publishers
from etude.storage import to_uri

SCHEMA = "etude"
CURRENT = "current"
"""The view of the tables and run_ids of the newest release."""
_SUFFIX = "_current"
_ALIAS = "_latest"

_USER = "LEFT JOIN {schema}.users AS u ON u.user_idx = r.user_idx"
_TRACK = "LEFT JOIN {schema}.tracks AS t ON t.{key} = r.{key}"
_SERVED = (
    "SELECT entry.key AS `table`, entry.value AS run_id, since, release FROM (SELECT explode(map_entries(run_ids)) AS "
    f"entry, since, release FROM {SCHEMA}.releases WHERE release = (SELECT max(release) FROM {SCHEMA}.releases))"
)


def served_tables() -> tuple[Table, ...]:
    """Return the tables of which a release says whose rows are served."""
    return tuple(table for table in TABLES.values() if table.has_runs and publishers(table.name))


def view_names() -> tuple[str, ...]:
    """Return every name that `register` knows: tables, then views, then the views' older names."""
    served = [table.name for table in served_tables()]
    return (*TABLES, CURRENT, *(name + _SUFFIX for name in served), *(name + _ALIAS for name in served))


def mentioned(query: str) -> set[str]:
    """Return the names of tables and views that occur in a query's text."""
    words = set(re.findall(r"\w+", query.lower()))
    return {name for name in view_names() if name in words}


def register(spark: SparkSession, root: str, names: Iterable[str] | None = None) -> None:
    """Make the lake's tables and views known as `etude.<name>`; all of them, or `names` and what they rest on.

    A table that was never written is there too, without rows. Nothing in the lake is touched.
    """
    wanted = set(view_names() if names is None else names)
    lake = Lake(root, spark)
    _create_schema(spark, lake.root)
    aliases = [table for table in served_tables() if table.name + _ALIAS in wanted]
    views = [table for table in served_tables() if table.name + _SUFFIX in wanted or table in aliases]
    needed = wanted | {name for table in views for name in _rests_on(table)}
    if CURRENT in needed:
        needed.add("releases")
    known_views = _views(spark)
    for name, table in TABLES.items():
        if name in needed:
            _register_table(lake, table, name in known_views)
    if CURRENT in needed:
        spark.sql(f"CREATE OR REPLACE VIEW {SCHEMA}.{CURRENT} {_comments_of_current()} AS {_SERVED}")
    for table in views:
        name = f"{SCHEMA}.{table.name}{_SUFFIX}"
        spark.sql(f"CREATE OR REPLACE VIEW {name} {_comments(table)} AS {served(table)}")
    for table in aliases:
        _register_alias(spark, table)


def _register_alias(spark: SparkSession, table: Table) -> None:
    view = f"{table.name}{_SUFFIX}"
    comment = quoted(f"Older name of `{view}`: what is served, which after a rollback is not the latest run.")
    spark.sql(
        f"CREATE OR REPLACE VIEW {SCHEMA}.{table.name}{_ALIAS} COMMENT {comment} AS SELECT * FROM {SCHEMA}.{view}"
    )


def query(spark: SparkSession, root: str, text: str) -> DataFrame:
    """Run one query with the names it mentions registered (SHOW: all). Bare names mean the lake's tables too."""
    register(spark, root, None if re.match(r"\s*show\b", text, re.IGNORECASE) else mentioned(text))
    before = spark.catalog.currentDatabase()
    spark.catalog.setCurrentDatabase(SCHEMA)
    try:
        return spark.sql(text)
    finally:
        spark.catalog.setCurrentDatabase(before)


def served(table: Table) -> str:
    """Return the SELECT behind `<table>_current`: rows of the served run, with the names of users and tracks."""
    columns, joins = _joined(table)
    condition = _is_served(table)
    return f"SELECT {', '.join(columns)} FROM {SCHEMA}.{table.name} AS r {' '.join(joins)} WHERE {condition}"


def _is_served(table: Table) -> str:
    """Return the condition that keeps the served run; a scalar subquery, so that only its partition is read."""
    stages = publishers(table.name)
    if any(table.name in stage.publishes for stage in stages):
        return f"r.run_id = {_run_of(table.name)}"
    return " OR ".join(f"(r.job = '{stage.name}' AND r.run_id = {_run_of(stage.publishes[0])})" for stage in stages)


def _run_of(table: str) -> str:
    return f"(SELECT max_by(run_ids, release)['{table}'] FROM {SCHEMA}.releases)"


def _joined(table: Table) -> tuple[list[str], list[str]]:
    """Return columns, with user_id, title and artist_name beside the indices they explain, and the joins for them."""
    columns: list[str] = []
    joins: list[str] = []
    for name in table.column_names:
        columns.append(f"r.`{name}`")
        if name == "user_idx":
            columns.append("u.user_id")
            joins.append(_USER.format(schema=SCHEMA))
        elif name in ("track_idx", "track_id"):
            columns += ["t.track_id"] if name == "track_idx" else []
            columns += ["t.title", "t.artist_name"]
            joins.append(_TRACK.format(schema=SCHEMA, key=name))
    return columns, joins


def _comments(table: Table) -> str:
    """Return the column list of a view with the tables' comments, and the view's own comment."""
    known = {column.name: column.comment for column in (*TABLES["users"].columns, *TABLES["tracks"].columns)}
    known.update({column.name: column.comment for column in table.columns})
    names = [re.sub(r"^\w\.|`", "", column) for column in _joined(table)[0]]
    listed = ", ".join(f"`{name}` COMMENT {quoted(known[name])}" for name in names)
    return f"({listed}) COMMENT {quoted(f'The rows of `{table.name}` that are served (see releases).')}"


def _comments_of_current() -> str:
    columns = {
        "table": "Name of a table with run_ids.",
        "run_id": "Run whose rows of the table are served.",
        "since": "When the release was published, UTC.",
        "release": "The newest release.",
    }
    listed = ", ".join(f"`{name}` COMMENT {quoted(text)}" for name, text in columns.items())
    return f"({listed}) COMMENT {quoted('What is served: the newest release, one row per table.')}"


def _rests_on(table: Table) -> list[str]:
    joins = " ".join(_joined(table)[1])
    return [table.name, "releases", *(name for name in ("users", "tracks") if f"{SCHEMA}.{name} " in joins)]


def _create_schema(spark: SparkSession, root: str) -> None:
    """Create the schema, or empty it of the names that another lake gave it."""
    if spark.catalog.databaseExists(SCHEMA):
        properties = spark.sql(f"DESCRIBE SCHEMA EXTENDED {SCHEMA}").where("info_name = 'Properties'").first()
        if properties is None or f"(lake,{root})" not in properties["info_value"]:
            known_views = _views(spark)
            for row in spark.sql(f"SHOW TABLES IN {SCHEMA}").collect():
                _forget(spark, row["tableName"], row["tableName"] in known_views)
            spark.sql(f"ALTER SCHEMA {SCHEMA} SET DBPROPERTIES ('lake' = {quoted(root)})")
        return
    # DROP SCHEMA ... CASCADE removes the schema's folder: so never one that holds data.
    folder = tempfile.mkdtemp(prefix="etude-schema-")
    spark.sql(
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} COMMENT 'The Etude lake' LOCATION {quoted(to_uri(folder))} "
        f"WITH DBPROPERTIES ('lake' = {quoted(root)})"
    )
    Path(folder).rmdir()


def _register_table(lake: Lake, table: Table, is_view: bool) -> None:
    """Make a table known, or an empty view if it isn't there; `is_view`: if its name is a view's so far."""
    name, there = f"{SCHEMA}.{table.name}", lake.exists(table.name)
    if is_view == there:
        _forget(lake.spark, table.name, is_view)
    if there:
        lake.spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION {quoted(lake.uri(table.name))}")
        return
    columns = ", ".join(f"CAST(NULL AS {column.type}) AS `{column.name}`" for column in table.columns)
    lake.spark.sql(f"CREATE OR REPLACE VIEW {name} AS SELECT {columns} WHERE false")


def _views(spark: SparkSession) -> set[str]:
    return {row["viewName"] for row in spark.sql(f"SHOW VIEWS IN {SCHEMA}").collect()}


def _forget(spark: SparkSession, name: str, is_view: bool) -> None:
    """Remove a name from the schema; the table or view's files stay where they are."""
    spark.sql(f"DROP {'VIEW' if is_view else 'TABLE'} IF EXISTS {SCHEMA}.`{name}`")
