"""List the lake's tables with versions and numbers of rows, or the columns of one table."""

from __future__ import annotations

import argparse
from typing import Any

from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of
from etude.errors import SettingsError
from etude.lake.lake import Lake, open_lake
from etude.lake.schema import LIFETIMES, SUBJECTS
from etude.lake.tables import TABLES
from etude.stages import writers


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("tables", description=__doc__)
    parser.add_argument("table", nargs="?", metavar="TABLE", help="show this table's columns")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tables, or one table's columns.

    Raises:
        SettingsError: there is no table of that name.
    """
    if args.table is None:
        with open_lake(settings_of(args)) as lake:
            print(overview(lake))
        return 0
    if args.table not in TABLES:
        raise SettingsError(f"{args.table}: no such table; the lake's tables are {', '.join(TABLES)}")
    print(columns_of(args.table))
    return 0


def overview(lake: Lake) -> str:
    """Return each table with version and number of rows; both are empty for a table that was never written."""
    lines = []
    for name, table in TABLES.items():
        version = lake.version(name)
        lines.append((name, version, lake.count(name) if version is not None else None, table.comment))
    return aligned(("table", "version", "rows", "holds"), lines, widest=90)


def columns_of(name: str) -> str:
    """Return a table's comment, key, lifetime and columns."""
    table = TABLES[name]
    lines = [(c.name, c.type, "yes" if c.nullable else "", c.comment) for c in table.columns]
    body = aligned(("column", "type", "null?", "holds"), lines, widest=110)
    key, by = ", ".join(table.key), ", ".join(writers(name))
    kept = f"rows live {LIFETIMES[table.lifetime]}; data of {SUBJECTS[table.subject]}"
    return f"{table.comment}\nkey: {key}; written by {by}\n{kept}\n\n{body}"
