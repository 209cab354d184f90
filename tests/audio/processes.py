"""Check whether a process has ended."""

import time
from pathlib import Path


def gone(pid, within_s=10.0):
    """Return whether a process ends within `within_s` seconds; a zombie counts as ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
