"""What is installed, whether it is right, and for each fault what to do.

Exit status 0 when nothing is at fault, else 1; notes are no faults.
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
from etude.environment import horovod
from etude.environment.checks import AGAIN, Finding, static_findings
from etude.environment.packages import installed


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("doctor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="start no Spark session: executors are not looked at")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--master", default="local[1]", help="where to look at executors (default: %(default)s)")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="settings, as jobs take them")
    take_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Look at everything, print it, and return the exit status."""
    findings = list(examine(args))
    faults = sum(finding.status == "fault" for finding in findings)
    if args.json:
        print(json.dumps({"ok": not faults, "findings": [asdict(finding) for finding in findings]}))
    else:
        print(as_text(findings))
    return 1 if faults else 0


def examine(args: argparse.Namespace) -> Iterable[Finding]:
    """All findings; the cheap ones first, since later ones often follow from them."""
    site_packages = Path(sysconfig.get_path("purelib"))
    try:
        from etude.config import load_settings
        from etude.environment import live
    except (ImportError, OSError) as error:
        yield from static_findings(site_packages)
        yield Finding("imports", "fault", f"settings can't be read: {error}", AGAIN)
        return
    settings = load_settings(args.config, args.overrides)
    yield from static_findings(site_packages)
    yield live.check_imports()
    yield from live.check_torch()
    yield live.check_horovod(installed(site_packages).get("horovod"), horovod.lacking())
    yield live.check_audio()
    yield live.check_checkpoints(settings)
    if not args.quick:
        yield from live.try_executors(args.master)


def as_text(findings: list[Finding]) -> str:
    """A line a finding, its remedy below it, and the sum."""
    width = max(len(finding.part) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<5}  {finding.part:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':<{width + 9}}-> {finding.remedy}")
    counts = {status: sum(finding.status == status for finding in findings) for status in ("ok", "note", "fault")}
    lines.append(f"{counts['ok']} ok, {counts['note']} to note, {counts['fault']} at fault")
    return "\n".join(lines)
