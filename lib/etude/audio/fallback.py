"""What libsndfile refuses, decoded by an ffmpeg binary into a WAV file that libsndfile then reads (mel.fallback)."""

from __future__ import annotations

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


def find_ffmpeg() -> str | None:
    """The ffmpeg binary of this machine, or None."""
    return shutil.which("ffmpeg")


def scratch_prefix(pid: int) -> str:
    """How the names of a decoding process's temporary folders begin: whoever kills it can clean up after it."""
    return f"etude-audio-{pid}-"


@dataclass(frozen=True)
class Transcoder:
    """Decodes by a binary; the WAV never grows beyond max_bytes (an hour in float32 stereo is 1.4 GB).

    It is killed after time_limit_s: whoever watches over this process may be gone by then.
    """

    binary: str
    max_bytes: int
    time_limit_s: float = 30.0

    @contextmanager
    def as_wav(self, source: Source) -> Iterator[str]:
        """Path of a temporary WAV file (float32, native rate and channels) with the first audio stream of `source`.

        Raises:
            RefusedError: undecodable, with ffmpeg's last line, or timeout.
        """
        with tempfile.TemporaryDirectory(prefix=scratch_prefix(os.getpid())) as folder:
            if not isinstance(source, str):
                path = Path(folder) / "in"
                path.write_bytes(source)
                source = str(path)
            wav = str(Path(folder) / "out.wav")
            self._run(source, wav)
            yield wav

    def _run(self, source: str, wav: str) -> None:
        # A playlist must not make it fetch anything, hence the whitelist; `file:` keeps odd names from being options.
        # One thread: a task has one slot, and each thread takes of the address space that this process may use.
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
        if done.returncode or not Path(wav).exists():
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise RefusedError("undecodable", f"ffmpeg: {lines[-1][:200] if lines else f'status {done.returncode}'}")
