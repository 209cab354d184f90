"""Find the line of an error that says what happened.

The first line of an error that passed through Java, a Python worker or a launcher of ranks often says only where it was
noticed. Its cause stands below, after a stack trace.
"""

from __future__ import annotations

import re

from etude.errors import EtudeError
from etude.storage import shown

WORKER_LOST = r"ExecutorLostFailure|Python worker exited unexpectedly"
"""Pattern of what Spark says if a process of tasks was killed, or its machine was lost."""

NOT_FINITE = "loss is not finite"
"""What the error of a training says if its loss has become infinite or NaN."""

NOTHING_TO_LEARN = "no training track has any input"
"""What the error of a training says if content is known only of tracks that nobody has played."""

_LONGEST = 500
_JAVA = re.compile(r"(?:Caused by: |: )(?:[a-z]\w*\.)+(?P<name>[A-Z]\w*(?:\$\w+)?)(?:: (?P<text>.*))?$")
"""`Caused by: java.io.IOException: No space left on device`; the line of the error itself starts with `: `."""
_PYTHON = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)(?:: .*|$)")
"""The last line of a Python traceback."""
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r"at \S+\(|\.\.\. \d+ more$|\S+@[0-9a-f]+$")


def cause_of(error: BaseException) -> str:
    """Return the one line that says what went wrong, after the error's type if it isn't one of ours.

    That is, of an error that holds a Python worker's traceback, the last line of that; of one that holds a Java stack
    trace, its last cause; of one whose first line ends in a colon or names only a kind of error, also the lines below;
    otherwise the first line. Secrets in URIs are masked.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = shown(_root(lines))[:_LONGEST]
    if isinstance(error, EtudeError):
        return shown(lines[0][:_LONGEST]) if lines else ""
    return f"{type(error).__name__}: {text}"


def _root(lines: list[str]) -> str:
    if not lines:
        return ""
    if _TRACEBACK in " ".join(lines):
        after = lines[max(n for n, line in enumerate(lines) if _TRACEBACK in line) :]
        raised = [line for line in after if _PYTHON.match(line)]
        if raised:
            return raised[-1]
    causes = [found for found in map(_JAVA.match, lines[1:]) if found]
    told = [found for found in causes if found["text"]] or causes
    if told:
        last = told[-1]
        return f"{last['name']}: {last['text']}" if last["text"] else last["name"]
    if lines[0].endswith((":", " error")) and len(lines) > 1:
        return " ".join([lines[0], *(line for line in lines[1:4] if not _FRAME.match(line))])
    return lines[0]
