"""Provide the place for intermediate results that several tests share."""

import pytest

from etude.lake.staging import Staging


@pytest.fixture
def staging(spark, tmp_path):
    with Staging(spark, f"{tmp_path.as_uri()}/staging") as place:
        yield place
