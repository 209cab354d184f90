"""The lake as the schema `etude` of a session: every table by name, and `<table>_latest` for the run in force.

    from etude.lake import views
    views.register(spark, "build/demo/lake")
    spark.sql("SELECT * FROM etude.recommendations_latest").show()

Path tables vanish from Spark's in-memory catalog with the session, so whoever wants names registers them again; it
costs a look at each Delta log, and `names` says which are worth it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from etude.lake.lake import Lake, quoted
from etude.lake.tables import IN_FORCE_BY, TABLES, Table
from etude.storage import to_uri

SCHEMA = "etude"
_SUFFIX = "_latest"

_USER = "LEFT JOIN {schema}.users AS u ON u.user_idx = r.user_idx"
_TRACK = "LEFT JOIN {schema}.tracks AS t ON t.{key} = r.{key}"


def view_names() -> tuple[str, ...]:
    """Every name that `register` knows: the tables, then the views."""
    return (*TABLES, *(table.name + _SUFFIX for table in TABLES.values() if table.has_runs))


def mentioned(query: str) -> set[str]:
    """The names of tables and views that occur in a query's text."""
    words = set(re.findall(r"\w+", query.lower()))
    return {name for name in view_names() if name in words}


def register(spark: SparkSession, root: str, names: Iterable[str] | None = None) -> None:
    """Make the lake's tables and views known as `etude.<name>`; all of them, or `names` and what they rest on.

    A table that was never written is there too, without rows. Nothing in the lake is touched.
    """
    wanted = view_names() if names is None else [name for name in view_names() if name in set(names)]
    lake = Lake(spark, root)
    _create_schema(spark, lake.root)
    tables = {name: None for name in wanted if name in TABLES}
    views = [TABLES[name.removesuffix(_SUFFIX)] for name in wanted if name not in TABLES]
    for table in views:
        tables.update(dict.fromkeys(_rests_on(table)))
    known_views = _views(spark)
    for name in tables:
        _register_table(lake, TABLES[name], name in known_views)
    for table in views:
        spark.sql(f"CREATE OR REPLACE VIEW {SCHEMA}.{table.name}{_SUFFIX} {_comments(table)} AS {latest(table)}")


def query(spark: SparkSession, root: str, text: str) -> DataFrame:
    """Run one query with the names it mentions registered (SHOW: all); bare names mean the lake's tables too."""
    register(spark, root, None if re.match(r"\s*show\b", text, re.IGNORECASE) else mentioned(text))
    before = spark.catalog.currentDatabase()
    spark.catalog.setCurrentDatabase(SCHEMA)
    try:
        return spark.sql(text)
    finally:
        spark.catalog.setCurrentDatabase(before)


def latest(table: Table) -> str:
    """The SELECT behind `<table>_latest`: rows of the run in force, with the names of users and tracks."""
    columns, joins = _joined(table)
    return f"SELECT {', '.join(columns)} FROM {SCHEMA}.{table.name} AS r {' '.join(joins)} WHERE {_in_force(table)}"


def _in_force(table: Table) -> str:
    """The condition that keeps the run in force; a scalar subquery, so that only its partition is read."""
    if len(table.written_by) == 1 and table.written_by[0] in IN_FORCE_BY:
        return f"r.run_id = {_run_of(table.written_by[0])}"
    return " OR ".join(f"(r.job = '{job}' AND r.run_id = {_run_of(job)})" for job in IN_FORCE_BY)


def _run_of(job: str) -> str:
    return f"(SELECT max(run_id) FROM {SCHEMA}.current WHERE `table` = '{IN_FORCE_BY[job]}')"


def _joined(table: Table) -> tuple[list[str], list[str]]:
    """Columns with user_id, title and artist_name beside the indices they explain, and the joins that bring them."""
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
    """Column list of a view with the tables' comments, and the view's own."""
    known = {column.name: column.comment for column in (*TABLES["users"].columns, *TABLES["tracks"].columns)}
    known.update({column.name: column.comment for column in table.columns})
    names = [re.sub(r"^\w\.|`", "", column) for column in _joined(table)[0]]
    listed = ", ".join(f"`{name}` COMMENT {quoted(known[name])}" for name in names)
    return f"({listed}) COMMENT {quoted(f'The rows of `{table.name}` that are in force (see current).')}"


def _rests_on(table: Table) -> list[str]:
    joins = " ".join(_joined(table)[1])
    return [table.name, "current", *(name for name in ("users", "tracks") if f"{SCHEMA}.{name} " in joins)]


def _create_schema(spark: SparkSession, root: str) -> None:
    """The schema, empty of names that another lake gave it."""
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
    """Make a table known, or, where it isn't there, an empty view; `is_view`: whether its name is a view's so far."""
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
    """Take a name out of the schema; what it stood for stays where it is."""
    spark.sql(f"DROP {'VIEW' if is_view else 'TABLE'} IF EXISTS {SCHEMA}.`{name}`")
