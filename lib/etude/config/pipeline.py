"""Define the settings of the pipeline."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class PipelineSettings(Section):
    """Configure the pipeline, which runs all stages."""

    evaluate: bool = True
    """Whether wmf, train and topn also run under the evaluation protocol, for the report's metrics."""
    evaluation_protocol: Literal["strict", "paper"] | None = None
    """Protocol of the evaluation runs; null: evaluation.protocol, or strict if that is none. Published lists always
    come from a run with protocol none."""
    samples: int = Field(3, ge=0)
    """Number of users whose first recommendations are printed at the end, if topn has run."""
