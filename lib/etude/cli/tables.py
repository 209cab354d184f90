"""The lake's tables: how many rows each has and at which version, or the columns of one."""

from __future__ import annotations

import argparse
from typing import Any

from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of
from etude.errors import SettingsError
from etude.lake.glance import Glance, open_lake
from etude.lake.tables import TABLES


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("tables", description=__doc__)
    parser.add_argument("--table", metavar="NAME", help="show this table's columns")
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
        raise SettingsError(f"--table {args.table}: the lake's tables are {', '.join(TABLES)}")
    print(columns_of(args.table))
    return 0


def overview(lake: Glance) -> str:
    """Each table with version and number of rows; a table never written has neither."""
    lines = []
    for name, table in TABLES.items():
        version = lake.version(name)
        lines.append((name, version, lake.count(name) if version is not None else None, table.comment))
    return aligned(("table", "version", "rows", "holds"), lines, widest=90)


def columns_of(name: str) -> str:
    """A table's comment, key and columns."""
    table = TABLES[name]
    lines = [(c.name, c.type, "yes" if c.nullable else "", c.comment) for c in table.columns]
    body = aligned(("column", "type", "null?", "holds"), lines, widest=110)
    return f"{table.comment}\nkey: {', '.join(table.key)}; written by {', '.join(table.written_by)}\n\n{body}"
