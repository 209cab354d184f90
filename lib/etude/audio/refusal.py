"""Why audio is refused: every reason that `rejects` may name for the mel stage."""

from __future__ import annotations

# The cause lies in the input: refused again for nothing, so it is tried again only when file or settings change.
IN_THE_FILE = {
    "undecodable": "libsndfile (and ffmpeg, where mel.fallback asks for it) can't read it",
    "too_short": "it decodes to less than mel.crop_s",
    "silent": "the window's peak lies under 1e-5",
    "non_finite": "the window holds NaN or infinity",
    "too_large": "the file is larger than mel.max_file_mb",
    "out_of_memory": "decoding asks for more than mel.memory_mb",
}

# The cause may lie in the circumstances (a loaded machine, a mount that is away): tried again in every run.
IN_THE_CIRCUMSTANCES = {
    "missing": "no such file",
    "unreadable": "the file is there, but reading it failed",
    "timeout": "it took longer than mel.time_limit_s",
    "crashed": "the decoding process died of it",
    "failed": "an error that has no reason of its own; detail names it",
}

# The cause lies in how the manifest or folder names it; looked at again in every run, which costs nothing.
IN_THE_LISTING = {
    "bad_row": "track id or path is missing",
    "bad_path": "the path can't be resolved (relative without a base, unknown scheme, control characters)",
    "outside_root": "the path or a link leads out of the folder it belongs to",
    "not_a_file": "a folder, pipe or device",
    "duplicate": "another row names a file for the same track",
}


class RefusedError(Exception):
    """One crop or file is refused: `reason` is one of the words above, `detail` says it to a person."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
