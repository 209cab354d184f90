"""Define the settings of the paper's experiments."""

from typing import Annotated, Literal

from pydantic import Field

from etude.config.base import Section

Part = Literal["table1", "figure2", "figure3", "ablations", "options", "knobs"]
Model = Literal["autoencoder", "cnn", "cnn_lstm", "embeddings", "fusion", "fusion_relu"]


class CompareSettings(Section):
    """Configure the comparison of networks: each is trained several times on one factorisation."""

    parts: tuple[Part, ...] = Field(("table1", "figure2", "figure3", "ablations", "options", "knobs"), min_length=1)
    """table1, figure2, figure3: the paper's experiments; ablations: fusion without sound or a field; options: what
    Etude has beside the paper's network; knobs: the demo corpus with other shares of taste in the sound."""
    models: tuple[Model, ...] = Field(
        ("autoencoder", "cnn", "cnn_lstm", "embeddings", "fusion", "fusion_relu"), min_length=1
    )
    """Networks of table1 and figure2; fusion_relu has the paper's literal ReLU output."""
    protocols: tuple[Literal["strict", "paper"], ...] = Field(("strict", "paper"), min_length=1, max_length=2)
    """Protocols of table1 and figure2; the other parts have the first."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3, 4, 5), min_length=1)
    """Seeds of the networks; every network is trained once per seed."""
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.1, 0.01, 0.001, 0.0001), min_length=1)
    """Learning rates of figure3."""
    audible_shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((0.0, 0.3, 0.6, 0.9), min_length=1)
    """Values of demo.share_audible of knobs; the other shares keep their proportions, and the sound doesn't depend on
    the artist."""
    corpora: str = "build/compare"
    """Local folder of the corpora and lakes of knobs."""
    users: int = Field(10_000, ge=1)
    """Largest number of users whose plays judge; of more, a hash of (evaluation.seed, user_idx) chooses."""
    replicates: int = Field(2000, ge=100)
    """Number of bootstrap replicates."""
    collect_mb: int = Field(2048, ge=1)
    """Largest size in MB of predicted factors, plays and validation examples that the driver reads at a time."""
    path: str | None = None
    """Path or URI of the page of results (Markdown; pictures and a JSON file beside it); null means
    _reports/<run_id>.md in the lake."""
