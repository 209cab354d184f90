"""Settings of the pipeline."""

from typing import Literal

from etude.config.base import Section


class PipelineSettings(Section):
    """All stages in one go."""

    evaluate: bool = True
    """Whether wmf, train and topn also run under the evaluation protocol, for the report's figures."""
    evaluation_protocol: Literal["strict", "paper"] = "strict"
    """The protocol of that run; the lists that come into force always come from a run under `none`."""
    samples: int = 3
    """How many sample recommendations are printed at the end."""
