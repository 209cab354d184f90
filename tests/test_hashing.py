from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from etude.hashing import id_key, id_keys, uniform, uniforms


def test_spark_and_numpy_draw_the_same(spark):
    random = np.random.default_rng(0)
    longs = random.integers(-(2**63), 2**63 - 1, 500)
    texts = [f"track {i} é" for i in range(499)] + [""]
    frame = spark.createDataFrame(pd.DataFrame({"long": longs, "int": np.arange(500, dtype="int32"), "text": texts}))
    found = frame.select(
        id_key(F.col("text")).alias("key"),
        uniform(7, "a purpose", F.col("long"), F.col("int")).alias("two"),
        uniform(-1, "another", id_key(F.col("text"))).alias("one"),
    ).toPandas()
    assert (found.key == id_keys(texts)).all()
    assert (found.two == uniforms(7, "a purpose", longs, np.arange(500))).all()
    assert (found.one == uniforms(-1, "another", id_keys(texts))).all()


def test_draws_are_uniform_and_depend_on_seed_and_purpose():
    keys = np.arange(20_000)
    drawn = uniforms(1, "x", keys)
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(drawn, uniforms(2, "x", keys))[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn, uniforms(1, "y", keys))[0, 1]) < 0.03
    assert ((drawn >= 0) & (drawn < 1)).all()


def test_draws_never_change():
    """Fix two values: other ones would change every split and initial factor of every lake."""
    assert id_keys(["SOAKIMP12A8C130995"])[0] == 554766209935841870
    assert uniforms(1, "split by track", id_keys(["SOAKIMP12A8C130995"]))[0] == 0.8563540637527156
