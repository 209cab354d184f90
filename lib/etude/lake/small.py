"""New tables, and a few rows that the driver holds, past Spark: hundredths of a second instead of seconds."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from etude import storage
from etude.frames import arrow_table
from etude.lake.conflicts import retry_conflicts
from etude.lake.tables import Table


def serves(root: str) -> bool:
    """Whether this module may write below `root`, a URI: where the lake is local.

    Only there is it certain that the library's commits and Spark's exclude each other: both make a new file of the log,
    which succeeds for one of them. What a store such as S3 promises depends on settings that the two don't share.
    """
    return root.startswith("file:")


def create_table(uri: str, spec: Table) -> None:
    """Write the first commit of an empty table, unless there is one: what Spark's CREATE TABLE would write.

    By hand (https://github.com/delta-io/delta/blob/master/PROTOCOL.md): deltalake can't give a table CHECK constraints
    and the protocol version that they need in one commit.
    """
    now = time.time_ns() // 1_000_000
    metadata = {
        "id": str(uuid.uuid4()),
        "description": spec.comment,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": spec.schema.json(),  # Delta writes a schema as Spark does
        "partitionColumns": list(spec.partition_by),
        "configuration": spec.properties,
        "createdTime": now,
    }
    # Writers that don't know CHECK constraints stop at version 3.
    protocol = {"minReaderVersion": 1, "minWriterVersion": 3 if spec.constraints else 2}
    info = {"timestamp": now, "operation": "CREATE TABLE", "operationParameters": {}, "isBlindAppend": True}
    actions = [{"commitInfo": info}, {"metaData": metadata}, {"protocol": protocol}]
    text = "".join(json.dumps(action, ensure_ascii=False) + "\n" for action in actions)
    commit = storage.join(uri, "_delta_log", f"{0:020}")
    if storage.create_local(f"{commit}.json", text.encode()):
        # With a checksum beside it, Spark need not read the log for what the table is, and carries the checksum on
        # from commit to commit.
        counts = {"tableSizeBytes": 0, "numFiles": 0, "numMetadata": 1, "numProtocol": 1}
        nothing: dict[str, list[str]] = {"setTransactions": [], "domainMetadata": []}
        checksum = {**counts, **nothing, "metadata": metadata, "protocol": protocol}
        storage.create_local(f"{commit}.crc", json.dumps(checksum, ensure_ascii=False).encode())


@retry_conflicts
def replace_rows(uri: str, rows: Sequence[Mapping[str, Any]], equals: Mapping[str, str]) -> None:
    """Put `rows` in the place of all rows where every `column = value` of `equals` holds, in one commit.

    The table exists; its CHECK constraints hold here as they do in Spark. Without conditions all rows are replaced.

    Raises:
        deltalake.exceptions.DeltaError: a row breaks a constraint, or doesn't fulfil the conditions.
    """
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    schema = pa.schema(DeltaTable(uri).schema().to_arrow())
    predicate = " AND ".join(f"{column} = {_quoted(value)}" for column, value in equals.items())
    write_deltalake(uri, arrow_table(rows, schema), mode="overwrite", predicate=predicate or None)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
