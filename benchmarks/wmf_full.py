"""Compare the job wmf with a script of implicit's, as wmf_job does, at the shape of the full Taste Profile.

    python benchmarks/wmf_full.py build/bench/wmf_full.json

1.02 million users, 385,000 tracks and 48 million interactions, synthetic. About 15 minutes on two cores, 7 GB.
"""

from __future__ import annotations

import shutil
import sys

from _measured import machine, save
from wmf_job import FOLDER, compare


def main(path: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    save(path, {"machine": machine(), "sizes": {"48M": compare("48M", 1_020_000, 385_000, 48_000_000, 2)}})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
