"""Define the Delta tables, read and write them, and record which runs made their rows."""

from etude.lake.lake import Lake
from etude.lake.metrics import Metric
from etude.lake.tables import TABLES, Table

__all__ = ["TABLES", "Lake", "Metric", "Table"]
