"""Run the `etude` command: find the module of a sub-command and call it.

A sub-command is a module of this package: `demo_corpus.py` is `etude demo-corpus`. The module defines
`add_parser(subparsers)`, which adds its parser, and `run(args) -> int`, which returns the exit status. The first line
of its docstring is its line in `etude --help`. Only the module of the given command is imported.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from importlib import resources

import etude
from etude.errors import EtudeError

_PACKAGE = "etude.cli"
_CLOSED_PIPE = 128 + signal.SIGPIPE


def commands() -> dict[str, str]:
    """Return sub-command -> module, sorted by name."""
    package = importlib.import_module(_PACKAGE)
    names = (info.name for info in pkgutil.iter_modules(package.__path__))
    return {
        name.replace("_", "-"): f"{_PACKAGE}.{name}"
        for name in sorted(names)
        if name != "main" and not name.startswith("_")
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit status; a usage error exits 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = commands()
    parser = argparse.ArgumentParser(prog="etude", description=etude.__doc__)
    parser.add_argument("--version", action="version", version=f"etude {etude.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    module = importlib.import_module(known[arguments[0]]) if arguments and arguments[0] in known else None
    if module is not None:
        module.add_parser(subparsers)
    else:
        for name, path in known.items():
            subparsers.add_parser(name, help=_summary(path))
    args = parser.parse_args(arguments)
    if module is None:  # an option before the command; --help and --version have exited
        parser.error("give the command first, then its options")
    try:
        status = int(module.run(args))
        sys.stdout.flush()
        return status
    except EtudeError as error:
        print(f"etude {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output has read enough, as `head` does. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE


def _summary(module: str) -> str:
    """Return the first line of a module's docstring, without importing the module."""
    source = resources.files(_PACKAGE).joinpath(module.rpartition(".")[2] + ".py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].replace("%", "%%")


if __name__ == "__main__":
    sys.exit(main())
