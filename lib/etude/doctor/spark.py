"""Read the configuration of the environment's own Spark."""

from __future__ import annotations

from pathlib import Path


def spark_home(site_packages: Path) -> Path:
    """Return SPARK_HOME of the Spark that pip installed."""
    return site_packages / "pyspark"


def defaults(site_packages: Path) -> dict[str, str]:
    """Return the settings of the environment's spark-defaults.conf; empty if the file is missing."""
    file = spark_home(site_packages) / "conf" / "spark-defaults.conf"
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
