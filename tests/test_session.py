"""The session: what it adds to Spark's own."""

from __future__ import annotations

from py4j.java_gateway import JavaClass, JVMView
from pyspark.sql import functions as F


def test_columns_are_made_without_looking_classes_and_members_up_again(spark, monkeypatch):
    def column():
        return F.coalesce(F.max("a"), F.lit(1)) + F.transform("b", lambda x: x.cast("int"))[0]

    column()

    def asked(self, name):
        raise AssertionError(f"the JVM was asked for {name} again")

    monkeypatch.setattr(JVMView, "__getattr__", asked)
    monkeypatch.setattr(JavaClass, "__getattr__", asked)
    assert "coalesce" in str(column())
