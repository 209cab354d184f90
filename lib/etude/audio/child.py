"""Run the decoding process: read requests from standard input and write answers to standard output, until input ends.

It is a separate program because libsndfile may crash, can't be interrupted, and may allocate any amount of memory.
Such a failure costs one process, which the worker (guard.py) replaces. Its only large imports are numpy, soundfile and
soxr. Both directions use frames: a 4-byte length, JSON of that length, then a payload of as many bytes as the JSON's
`bytes`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from etude.audio.recipe import Recipe

LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Limits:
    """Hold the limits per file: seconds, MB (2**20) of address space, bytes of file; and whether to try ffmpeg."""

    time_limit_s: float = 30.0
    memory_mb: int = 1024
    max_bytes: int = 2048 << 20
    ffmpeg: bool = False


def frame(head: dict[str, Any], payload: bytes | memoryview = b"") -> bytes:
    """Encode one message for the pipe."""
    text = json.dumps({**head, "bytes": len(payload)}).encode()
    return b"".join((LENGTH.pack(len(text)), text, payload))


def configuration(recipe: Recipe, limits: Limits) -> str:
    """Encode the arguments of `main` as text for the command line."""
    return json.dumps([asdict(recipe), asdict(limits)])


def main() -> None:
    """Serve until standard input ends; argv[1] is `configuration(...)`."""
    recipe_fields, limits_fields = json.loads(sys.argv[1])
    recipe, limits = Recipe(**recipe_fields), Limits(**limits_fields)
    answers = _private_stdout()
    fallback = _fallback(limits)
    # Import before the limits are set, so that a missing library is an error at startup and never a reject.
    from etude.audio.features import Refusal, spectrograms

    _bound(limits)
    answers.write(frame({"ready": True}))
    answers.flush()
    _silence(2)
    while (request := _read_request(sys.stdin.buffer)) is not None:
        head, data = request
        # If the worker is gone, SIGALRM's default action ends a decoder that hangs.
        signal.setitimer(signal.ITIMER_REAL, 2 * limits.time_limit_s + 5)
        outcomes = spectrograms(head.get("path", data), head["track_id"], head["crops"], recipe, fallback)
        signal.setitimer(signal.ITIMER_REAL, 0)
        told = [
            {"crop": o.crop, "reason": o.reason, "detail": o.detail}
            if isinstance(o, Refusal)
            else {
                "crop": o.crop,
                "at": o.offset_s,
                "of": o.duration_s,
                "sha256": o.content_sha256,
                "shape": o.mel.shape,
            }
            for o in outcomes
        ]
        mels = b"".join(o.mel.tobytes() for o in outcomes if not isinstance(o, Refusal))
        answers.write(frame({"outcomes": told}, mels))
        answers.flush()


def _read_request(requests: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    length = requests.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    head = json.loads(requests.read(LENGTH.unpack(length)[0]))
    return head, requests.read(head["bytes"])


def _private_stdout() -> IO[bytes]:
    """Return a duplicate of standard output for the answers; discard the output of libraries."""
    answers = os.fdopen(os.dup(1), "wb")
    _silence(1)
    return answers


def _silence(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _fallback(limits: Limits) -> Any:
    if not limits.ffmpeg:
        return None
    from etude.audio.fallback import Transcoder, find_ffmpeg

    binary = find_ffmpeg()
    if binary is None:
        raise SystemExit("mel.fallback=ffmpeg: no ffmpeg found in PATH; install it on every executor")
    return Transcoder(binary, limits.max_bytes, limits.time_limit_s)


def _bound(limits: Limits) -> None:
    space = limits.memory_mb << 20
    with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # If memory still runs out, the kernel should kill this process before the executor.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
