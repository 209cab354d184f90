"""Settings of the report."""

from pydantic import Field

from etude.config.base import Section


class ReportSettings(Section):
    """The HTML file for people."""

    path: str | None = None
    """Where the file goes, path or URI; null means _reports/<run_id>.html in the lake."""
    title: str = "Etude report"
    """Heading of the page."""
    note: str | None = None
    """A line shown under the heading and beside every group of figures, such as that the corpus is synthetic."""
    evaluation_run_id: str | None = None
    """The topn run (protocol strict or paper) whose figures are shown; null means the newest that succeeded."""
    production_run_id: str | None = None
    """The topn run (protocol none) whose lists are sampled; null means the one in force, else the newest."""
    k: int = Field(20, ge=1)
    """List length of the tables; the nearest one that was measured is taken."""
    sample_users: int = Field(6, ge=0, le=50)
    """How many users' lists are shown, chosen at even steps from the least to the most active."""
    sample_length: int = Field(8, ge=1, le=50)
    """How many tracks of each list are shown."""
    mel_pictures: int = Field(2, ge=0, le=8)
    """How many mel spectrograms are shown."""
