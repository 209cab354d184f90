"""Define the settings of the report."""

from pydantic import Field

from etude.config.base import Section


class ReportSettings(Section):
    """Configure the HTML report."""

    path: str | None = None
    """Path or URI of the report; null means _reports/<run_id>.html in the lake."""
    title: str = "Etude report"
    """Heading of the page."""
    note: str | None = None
    """Line shown below the heading and next to every group of metrics, for example that the corpus is synthetic."""
    evaluation_run_id: str | None = None
    """The topn run (protocol strict or paper) whose metrics are shown; null means the newest that succeeded."""
    production_run_id: str | None = None
    """The topn run (protocol none) whose lists are sampled; null means the published one, otherwise the newest."""
    k: int = Field(20, ge=1)
    """List length of the tables; the nearest measured one is shown."""
    sample_users: int = Field(6, ge=0, le=50)
    """Number of users whose lists are shown, evenly spaced from the least to the most active."""
    sample_length: int = Field(8, ge=1, le=50)
    """Number of tracks shown per list."""
    mel_pictures: int = Field(2, ge=0, le=8)
    """Number of mel spectrograms shown."""
