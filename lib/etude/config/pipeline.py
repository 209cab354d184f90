"""Settings of the pipeline."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class PipelineSettings(Section):
    """All stages in one go."""

    evaluate: bool = True
    """Whether wmf, train and topn also run under the evaluation protocol, for the report's figures."""
    evaluation_protocol: Literal["strict", "paper"] | None = None
    """The protocol of that run; null: evaluation.protocol, or strict where that is none. The lists that come into force
    always come from a run under `none`."""
    samples: int = Field(3, ge=0)
    """How many sample recommendations are printed at the end."""
