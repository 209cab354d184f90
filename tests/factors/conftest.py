"""Make frames of small interactions."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def frame_of(spark) -> Callable:
    """Return a function that makes a Spark frame of interactions in the given number of partitions."""

    def make(interactions: pd.DataFrame, partitions: int = 3):
        return spark.createDataFrame(interactions).repartition(partitions)

    return make
