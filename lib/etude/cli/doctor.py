"""Check the installation and print a remedy for each fault.

The exit status is 0 if there is no fault, otherwise 1; notes don't count.
"""

from __future__ import annotations

import argparse
import json
import sysconfig
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from etude.cli._settings import take_settings
from etude.doctor import toolchain
from etude.doctor.checks import AGAIN, Finding, static_findings
from etude.doctor.packages import installed
from etude.doctor.surroundings import surroundings


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("doctor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="skip the checks that need a Spark session (executors)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument(
        "--master",
        default="local[1]",
        help="Spark master whose executors are checked; they need this environment at the same path "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--config", action="append", default=[], metavar="FILE", help="YAML settings, as jobs take them"
    )
    take_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Run all checks, print the findings, and return the exit status."""
    findings = list(examine(args))
    faults = sum(finding.status == "fault" for finding in findings)
    if args.json:
        print(json.dumps({"ok": not faults, "findings": [asdict(finding) for finding in findings]}))
    else:
        print(as_text(findings))
    return 1 if faults else 0


def examine(args: argparse.Namespace) -> Iterable[Finding]:
    """Yield all findings; the fast checks come first, since their faults often cause later ones.

    Raises:
        SettingsError: a setting is unknown or invalid.
    """
    site_packages = Path(sysconfig.get_path("purelib"))
    try:
        from etude.config import load_settings
        from etude.doctor import live
    except (ImportError, OSError) as error:
        yield from static_findings(site_packages)
        yield Finding("imports", "fault", f"settings can't be read: {error}", AGAIN)
        return
    settings = load_settings(args.config, args.overrides)
    yield from static_findings(site_packages)
    yield from surroundings()
    yield live.check_imports()
    yield from live.check_torch()
    yield live.check_horovod(installed(site_packages).get("horovod"), toolchain.lacking())
    yield live.check_audio()
    yield live.check_checkpoints(settings)
    if not args.quick:
        yield from live.try_executors(args.master)


def as_text(findings: list[Finding]) -> str:
    """Return one line per finding, with its remedy on the next line, and the number of findings per status."""
    width = max(len(finding.part) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<5}  {finding.part:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':<{width + 9}}-> {finding.remedy}")
    counts = {status: sum(finding.status == status for finding in findings) for status in ("ok", "note", "fault")}
    lines.append(", ".join(f"{status}: {count}" for status, count in counts.items()))
    return "\n".join(lines)
