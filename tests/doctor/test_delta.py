"""Test the faults of Delta's jars among Spark's own."""

import hashlib
from pathlib import Path

from etude.doctor import delta

JARS = tuple(
    delta.Jar("io.delta", name, "1.0", hashlib.sha256(name.encode()).hexdigest())
    for name in ("delta-spark_2.13", "delta-storage")
)


def test_missing_damaged_and_other_versions_are_faults(tmp_path: Path) -> None:
    folder = tmp_path / "pyspark" / "jars"
    folder.mkdir(parents=True)
    assert delta.faults(tmp_path, JARS) == ["delta-spark_2.13-1.0.jar is missing", "delta-storage-1.0.jar is missing"]
    for jar in JARS:
        (folder / jar.file_name).write_text(jar.artifact)
    assert delta.faults(tmp_path, JARS) == []
    (folder / JARS[1].file_name).write_text("half a j")
    found = hashlib.sha256(b"half a j").hexdigest()
    (folder / "delta-spark_2.13-0.9.jar").touch()
    assert delta.faults(tmp_path, JARS) == [
        f"delta-storage-1.0.jar has SHA-256 {found}, expected {JARS[1].sha256}",
        "delta-spark_2.13-0.9.jar is not the pinned version",
    ]
