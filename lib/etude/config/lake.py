"""Define the settings of the lake, the Spark session and run selection."""

from pydantic import Field

from etude.config.base import Section


class LakeSettings(Section):
    """Locate the Delta tables and set their lease."""

    root: str = "build/lake"
    """URI or path of the folder that holds the tables (file:, hdfs:, s3a:)."""
    lease_timeout_s: int = Field(600, ge=10)
    """Seconds without a heartbeat after which another run's lease may be taken over."""


class SparkSettings(Section):
    """Configure what Etude sets on the Spark session; spark-submit and spark-defaults.conf set the rest."""

    shuffle_partitions: int | None = Field(None, ge=1)
    """spark.sql.shuffle.partitions; null keeps spark-submit's value."""
    snapshot_partitions: int = Field(4, ge=1)
    """Number of tasks that read a Delta log; Delta's default of 50 is slow for small tables."""
    small_input_mb: int = Field(64, ge=0)
    """Largest input (MB of log, catalogues and tables read) for which a job interprets its expressions instead of
    compiling them, uses few tasks, and writes small results without Spark; 0 turns this off."""
    checkpoint_dir: str | None = None
    """URI for RDD checkpoints (MLlib); null means `_checkpoints` in the lake."""


class InputsSettings(Section):
    """Select upstream runs; null means the newest matching run."""

    wmf_run_id: str | None = None
    """The wmf run whose factors and splits are read."""
    train_run_id: str | None = None
    """The train run whose predicted factors are read."""
    blend_run_id: str | None = None
    """The blend run whose factors are ranked."""
