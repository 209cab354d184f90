"""One small sound for the tests that don't care which."""

from pathlib import Path

import pytest
from sounds import sound, write


@pytest.fixture
def wav_path(tmp_path: Path) -> str:
    """Five seconds of mono sound at 8 kHz."""
    return str(write(tmp_path / "sound.wav", sound(5, 8000), 8000))
