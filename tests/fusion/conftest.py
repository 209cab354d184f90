"""Provide a lake with planted tables, shared by the tests that only read it."""

from __future__ import annotations

import pytest

from etude.lake import Lake
from fusion import planted as planting

MEL_SETTINGS = "0" * 64


@pytest.fixture(scope="package")
def planted():
    return planting.plant(120)


@pytest.fixture(scope="package")
def planted_lake(spark, planted, tmp_path_factory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("planted") / "lake"), spark)
    planting.write(lake, planted, MEL_SETTINGS)
    return lake
