"""Parse the command line of every job: --config, --batch-date, --run-id, --resume and section.key=value."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from etude.config import Settings, load_settings, settings_help
from etude.errors import SettingsError
from etude.lake import folders
from etude.lake.runs import utc_now

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

MoreArguments = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True)
class Arguments:
    """Hold the parsed command line; `extra` holds the arguments that a job adds to those of every job."""

    settings: Settings
    batch_date: date
    run_id: str
    resume: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    dated: bool = False
    """Whether the batch date was asked for, and isn't just today's."""

    def changed(self, run_id: str | None = None, **sections: Mapping[str, Any]) -> Arguments:
        """Return the arguments with other values in some sections of the settings, and maybe another run_id."""
        updated = {name: getattr(self.settings, name).model_copy(update=values) for name, values in sections.items()}
        settings = self.settings.model_copy(update=updated)
        return replace(self, settings=settings, run_id=run_id or self.run_id)


class _Parser(argparse.ArgumentParser):
    """Report a mistake as SettingsError: one line on standard error, the JSON line, exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (--help lists the arguments)")


def parse_arguments(
    name: str,
    sections: Sequence[str],
    doc: str | None,
    argv: Sequence[str],
    more_arguments: MoreArguments | None = None,
) -> Arguments:
    """Parse --config, --batch-date, --run-id, --resume and section.key=value.

    `more_arguments` may add optional arguments of the job's own; they go to `Arguments.extra`.

    Raises:
        SettingsError: an argument or a setting is wrong.
    """
    parser = _Parser(
        prog=f"jobs/{name}.py",
        description=doc,
        epilog=f"settings (section.key=value), with defaults:\n{settings_help(sections)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML layer; repeatable")
    parser.add_argument("--batch-date", metavar="YYYY-MM-DD", help="batch to process (default: today, UTC)")
    parser.add_argument("--run-id", help="id of the run (default: the batch date if given, else derived from the time)")
    parser.add_argument(
        "--resume", action="store_true", help="continue where the run of --run-id or --batch-date stopped"
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that override all layers")
    contract = {action.dest for action in parser._actions}
    if more_arguments is not None:
        more_arguments(parser)
    given = parser.parse_intermixed_args(argv)
    extra = {name: value for name, value in vars(given).items() if name not in contract}
    settings = load_settings([*base_layers(), *given.config], given.overrides)
    if given.resume and given.run_id is None and given.batch_date is None:
        raise SettingsError(
            "--resume goes on with a run: name it by --run-id, or by its --batch-date if it was started with that"
        )
    _check_locale(argv, settings)
    folders.check_root(settings.lake.root)
    batch_date = utc_now().date() if given.batch_date is None else _date(given.batch_date)
    default = given.batch_date or f"{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    run_id = default if given.run_id is None else given.run_id
    if not _RUN_ID.fullmatch(run_id):
        raise SettingsError(f"--run-id {run_id!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")
    return Arguments(settings, batch_date, run_id, given.resume, extra, given.batch_date is not None)


def check_room(run_id: str, longest: int, whose: str) -> None:
    """Check that a run_id leaves room for what is added to it.

    Raises:
        SettingsError: it is longer than `longest`.
    """
    if len(run_id) > longest:
        raise SettingsError(f"--run-id {run_id}: {whose} run_id has at most {longest} characters")


def _check_locale(argv: Sequence[str], settings: Settings) -> None:
    """Check that Java, which started this process or is started by it, can open the names that it is given.

    In the C locale, as under cron, spark-submit hands on a question mark for each byte beyond ASCII, and Java can't
    open such names. Python has a UTF-8 mode there, so it notices nothing.
    """
    in_c_locale = sys.flags.utf8_mode and "PYTHONUTF8" not in os.environ
    if not in_c_locale or not (os.environ.get("LC_ALL") or "PYSPARK_GATEWAY_PORT" in os.environ):
        return
    lost = [word for word in argv if "??" in word or "\ufffd" in word]
    foreign = not json.dumps(settings.model_dump(mode="json"), ensure_ascii=False).isascii()
    if lost or foreign:
        raise SettingsError(
            f"{' '.join(lost) or 'a setting'}: characters beyond ASCII, and the locale is C, in which Java loses them: "
            "set LC_ALL=C.UTF-8"
        )


def _date(text: str) -> date:
    """Parse YYYY-MM-DD alone: another way to write a day would be another run_id."""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise SettingsError(f"--batch-date {text!r}: expected YYYY-MM-DD")


def base_layers() -> list[Path]:
    """Return conf/etude.yaml beside the folder of the running job, if it exists; it holds the same defaults."""
    beside = Path(sys.argv[0]).absolute().parent.parent / "conf" / "etude.yaml"
    return [beside] if beside.is_file() else []
