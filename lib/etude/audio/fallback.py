"""Decode files that libsndfile refuses with an ffmpeg binary into a WAV file for libsndfile (mel.fallback)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etude.audio.decode import Source
from etude.audio.refusal import RefusedError

_LACKS = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT))
"""What ffmpeg says if the machine, not the file, is at fault."""


def find_ffmpeg() -> str | None:
    """Return the path of this machine's ffmpeg binary, or None."""
    return shutil.which("ffmpeg")


def scratch_prefix(pid: int) -> str:
    """Return the prefix of a decoding process's temporary folders, by which the guard removes them after a kill."""
    return f"etude-audio-{pid}-"


@dataclass(frozen=True)
class Transcoder:
    """Decode with a binary; the WAV file never exceeds max_bytes (an hour of float32 stereo has 1.4 GB).

    The binary is killed after time_limit_s, because the worker that supervises this process may be gone.
    """

    binary: str
    max_bytes: int
    time_limit_s: float = 30.0

    @contextmanager
    def as_wav(self, source: Source) -> Iterator[str]:
        """Write the first audio stream of `source` to a temporary WAV file (float32, native rate and channels).

        Yields:
            The path of the file.

        Raises:
            RefusedError: undecodable (with ffmpeg's last line), timeout or too_large; failed if disk or memory ran out.
        """
        with tempfile.TemporaryDirectory(prefix=scratch_prefix(os.getpid())) as folder:
            if not isinstance(source, str):
                path = Path(folder) / "in"
                try:
                    path.write_bytes(source)
                except OSError as error:
                    raise RefusedError("failed", f"{folder}: {error.strerror}") from error
                source = str(path)
            wav = str(Path(folder) / "out.wav")
            self._run(source, wav)
            yield wav

    def _run(self, source: str, wav: str) -> None:
        # The whitelist stops playlists from fetching URLs; `file:` keeps names from being parsed as options.
        # Use one thread: a task has one slot, and each thread needs part of the limited address space.
        threads = ("-threads", "1")
        command = [
            *(self.binary, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", *threads),
            *("-i", f"file:{source}", "-map", "0:a:0", "-c:a", "pcm_f32le", "-rf64", "auto"),
            *("-fs", str(self.max_bytes), *threads, f"file:{wav}"),
        ]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=self.time_limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RefusedError("timeout", f"ffmpeg took more than {self.time_limit_s:g} s") from error
        said = done.stderr.decode("utf-8", "replace")
        lack = next((lack for lack in _LACKS if lack in said), None)
        if lack is not None:
            raise RefusedError("failed", f"ffmpeg in {Path(wav).parent}: {lack}")
        if done.returncode or not Path(wav).exists():
            lines = said.strip().splitlines()
            raise RefusedError("undecodable", f"ffmpeg: {lines[-1][:200] if lines else f'status {done.returncode}'}")
        if Path(wav).stat().st_size >= self.max_bytes:  # ffmpeg ends there without an error
            raise RefusedError("too_large", f"decoded, the file has more than {self.max_bytes / 2**20:.0f} MB")
