"""Provide a small sound file for tests that need any sound."""

from pathlib import Path

import pytest
from sounds import sound, write


@pytest.fixture
def wav_path(tmp_path: Path) -> str:
    """Write five seconds of mono sound at 8 kHz."""
    return str(write(tmp_path / "sound.wav", sound(5, 8000), 8000))
