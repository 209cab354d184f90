"""Check that a frame fits a table, and bring its columns into the table's order and types."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from etude.errors import DataCheckError
from etude.lake.schema import Table


def conform(rows: DataFrame, spec: Table) -> DataFrame:
    """Return `rows` with the table's columns in the table's order and types.

    Raises:
        DataCheckError: a column is missing, superfluous, or of a type that would lose values.
    """
    found = {field.name: field.dataType for field in rows.schema.fields}
    wanted = {field.name: field.dataType for field in spec.schema.fields}
    if set(found) != set(wanted):
        missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        raise DataCheckError(f"{spec.name}: missing columns {missing}, superfluous columns {extra}")
    for name, kind in wanted.items():
        if not _fits(found[name], kind):
            raise DataCheckError(f"{spec.name}.{name}: {found[name].simpleString()} doesn't fit {kind.simpleString()}")
    return rows.select(*(F.col(name).cast(kind).alias(name) for name, kind in wanted.items()))


_WIDENING: dict[type[T.DataType], tuple[type[T.DataType], ...]] = {
    T.LongType: (T.IntegerType, T.ShortType, T.ByteType),
    T.IntegerType: (T.ShortType, T.ByteType),
    T.DoubleType: (T.FloatType, T.IntegerType),
}


def _fits(found: T.DataType, wanted: T.DataType) -> bool:
    if isinstance(found, T.ArrayType) and isinstance(wanted, T.ArrayType):
        return _fits(found.elementType, wanted.elementType)
    if isinstance(found, T.MapType) and isinstance(wanted, T.MapType):
        return _fits(found.keyType, wanted.keyType) and _fits(found.valueType, wanted.valueType)
    if isinstance(found, T.NullType):
        return True
    return type(found) is type(wanted) or isinstance(found, _WIDENING.get(type(wanted), ()))
