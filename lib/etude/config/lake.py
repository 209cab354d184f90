"""Settings of the lake, the Spark session and run selection."""

from pydantic import Field

from etude.config.base import Section


class LakeSettings(Section):
    """Where the Delta tables lie."""

    root: str = "build/lake"
    """URI or path of the folder that holds the tables (file:, hdfs:, s3a:)."""
    lease_timeout_s: int = Field(600, ge=10)
    """Seconds without a heartbeat after which another run's lease is taken over."""


class SparkSettings(Section):
    """What Etude sets on the Spark session; everything else belongs to spark-submit and spark-defaults.conf."""

    shuffle_partitions: int | None = Field(None, ge=1)
    """spark.sql.shuffle.partitions; null keeps spark-submit's value."""
    snapshot_partitions: int = Field(4, ge=1)
    """Tasks that read a Delta log; Delta's own default of 50 is slow for small tables."""
    checkpoint_dir: str | None = None
    """URI for RDD checkpoints (MLlib); null means `_checkpoints` in the lake."""


class InputsSettings(Section):
    """Upstream runs, where the newest fitting one isn't wanted."""

    wmf_run_id: str | None = None
    """Read factors and splits of this run."""
    train_run_id: str | None = None
    """Read predicted factors of this run."""
