"""Build one small corpus with every kind of fault, once per session."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from etude.config.demo import DemoSettings
from etude.demo.corpus import build

TINY = DemoSettings(
    users=60,
    tracks=48,
    events=4000,
    bad_audio=0.15,
    mislabelled_audio=0.1,
    without_audio=0.05,
    bad_rows=0.02,
    processes=1,
)


class Corpus(NamedTuple):
    folder: Path
    settings: DemoSettings
    expected: dict


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    assert build(folder, TINY)
    return Corpus(folder, TINY, json.loads((folder / "expected.json").read_text()))
