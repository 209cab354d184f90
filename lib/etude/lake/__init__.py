"""The Delta tables: what they hold, how rows get in, and which runs made them."""

from etude.lake.lake import Lake
from etude.lake.metrics import Metric
from etude.lake.tables import TABLES, Table

__all__ = ["TABLES", "Lake", "Metric", "Table"]
