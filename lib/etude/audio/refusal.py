"""Define the reasons for refusing audio, as `rejects` records them for the mel stage."""

from __future__ import annotations

# The cause lies in the file: a retry would fail again, so it is retried only when the file or the settings change.
IN_THE_FILE = {
    "undecodable": "libsndfile (and ffmpeg, if mel.fallback=ffmpeg) can't decode the file",
    "too_short": "the decoded audio is shorter than mel.crop_s",
    "silent": "the peak of the channels' mean is below 1e-5 at every one of mel.offsets offsets",
    "non_finite": "the crop holds NaN or infinity",
    "too_large": "the file is larger than mel.max_file_mb, or than half of mel.memory_mb if it is read whole",
    "out_of_memory": "decoding needs more than mel.memory_mb",
}

# The cause may lie in the environment (a loaded machine, a missing mount): it is retried in every run.
IN_THE_CIRCUMSTANCES = {
    "missing": "no such file",
    "unreadable": "the file exists, but reading it failed",
    "timeout": "reading or decoding took longer than mel.time_limit_s",
    "crashed": "the decoding process crashed on the file",
    "failed": "an error without its own reason; detail names it",
}

# The cause lies in the manifest or the folder: it is checked again in every run, at negligible cost.
IN_THE_LISTING = {
    "bad_row": "track id or path is missing",
    "bad_path": "the path can't be resolved (relative without a base, unknown scheme, control characters)",
    "outside_root": "the path or a link leads out of the allowed folders",
    "not_a_file": "the path is a folder, pipe or device",
    "duplicate": "another row has a file for the same track",
}


class RefusedError(Exception):
    """Report that a crop or file is refused: `reason` is one of the keys above, `detail` describes the fault."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
