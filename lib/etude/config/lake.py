"""Settings of the lake, the Spark session, run selection and evaluation."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class LakeSettings(Section):
    """Where the Delta tables lie."""

    root: str = "build/lake"
    """URI or path of the folder that holds the tables (file:, hdfs:, s3a:)."""
    lock_timeout_s: int = Field(600, ge=10)
    """Seconds without a heartbeat after which another run's hold on a batch is taken over."""


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


class EvaluationSettings(Section):
    """How results are measured."""

    protocol: Literal["none", "strict", "paper"] = "none"
    """none: every play used, nothing scored; strict: held-out tracks withheld from everything; paper: as the paper did."""
    k: tuple[int, ...] = (5, 10, 20, 50, 100)
    """Lengths of the list at which ranking metrics are computed."""
    seed: int = 1
    """Seed of the splits."""
    play_split: Literal["random", "time"] = "random"
    """How held-out plays are chosen for each user: at random, or the latest ones."""
    validation_plays: float = Field(0.1, ge=0, lt=0.5)
    """Share of each user's interactions held out for choosing things."""
    test_plays: float = Field(0.2, ge=0, lt=0.5)
    """Share of each user's interactions held out for the final figures."""
    track_split: Literal["track", "artist", "release_year"] = "track"
    """Whether cold tracks are drawn by track, by whole artists, or as the newest releases."""
    validation_tracks: float = Field(0.1, ge=0, lt=0.5)
    """Share of tracks held out for choosing things (with protocol none only early stopping uses them)."""
    test_tracks: float = Field(0.2, ge=0, lt=0.5)
    """Share of tracks held out as cold for the final figures."""
