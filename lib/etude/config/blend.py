"""Define the settings of blending plays and content."""

from pydantic import Field

from etude.config.base import Section


class BlendSettings(Section):
    """Configure how plays and content are blended into one set of factors."""

    weight: float | None = Field(None, gt=0)
    """Weight of the factors that content predicts, in units of wmf.regularization: the larger it is, the more plays it
    takes to outweigh the content. null: chosen on validation plays."""
    played_length: float | None = Field(None, gt=0)
    """Factor by which predictions are lengthened before played tracks are pulled towards them; null: chosen on
    validation plays."""
    unplayed_length: float | None = Field(None, ge=0)
    """Factor by which the predictions of tracks without plays are lengthened; 0: they are never listed before a track
    with a positive score; null: chosen on validation plays."""
    new_share: float | None = Field(None, ge=0, le=1)
    """Share of the plays to come that goes to tracks without plays: the larger it is, the longer unplayed_length is
    chosen. null: the share that validation tracks have in the log."""
    sample_users: int = Field(2000, ge=1)
    """Number of users whose validation plays decide."""
    broadcast_mb: int = Field(900, ge=1)
    """Largest size in MB of the users' factors, and of three times the tracks', which the driver collects and every
    Python worker receives. A larger value needs a larger spark.driver.maxResultSize (default 1g)."""
