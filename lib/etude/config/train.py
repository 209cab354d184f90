"""Settings of the network's training and of the prediction of factors."""

from typing import Literal

from pydantic import Field, field_validator

from etude.config.base import Section


class TrainSettings(Section):
    """Training and batch prediction."""

    model: Literal["fusion", "cnn", "cnn_lstm", "embeddings"] = "fusion"
    """Network to train: fusion reads audio and metadata, cnn and cnn_lstm audio alone, embeddings metadata alone."""
    fields: tuple[Literal["artist", "year", "tags"], ...] = ("artist", "year", "tags")
    """Metadata that fusion and embeddings read; leave one out to see what it is worth."""
    epochs: int = Field(100, ge=1)
    """Most epochs."""
    patience: int | None = Field(10, ge=1)
    """Stop after so many epochs without a better validation loss; null trains all epochs."""
    learning_rate: float = Field(0.001, gt=0)
    """Adam's step size."""
    weight_decay: float = Field(0.0, ge=0)
    """Adam's L2 penalty on all weights."""
    batch_size: int = Field(64, ge=1)
    """Rows a step and rank."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the metadata network's hidden units dropped in training."""
    unknown_share: float = Field(0.1, ge=0, lt=1)
    """How often a known artist, year, tag list or sound is hidden in training, so that `unknown` is learned too."""
    output_activation: Literal["linear", "relu"] = "linear"
    """relu is the paper to the letter, and cannot give the negative half of the factors."""
    convolution: Literal["time", "2d"] = "time"
    """time: convolutions over time with the mel bins as channels; 2d: over mel bins and time, several times slower."""
    channels: tuple[int, int, int] = (64, 128, 128)
    """Output channels of the three convolutions."""
    lstm_units: int = Field(100, ge=1)
    """Size of the LSTM's state."""
    audio_size: int = Field(100, ge=1)
    """Length of the audio vector."""
    artist_size: int = Field(64, ge=1)
    """Length of an artist's embedding."""
    year_size: int = Field(16, ge=1)
    """Length of a release year's embedding."""
    tag_size: int = Field(32, ge=1)
    """Length of a tag's embedding."""
    mlp: tuple[int, int] = (512, 100)
    """Units of the two dense layers over the embeddings."""
    max_artists: int = Field(100_000, ge=1, le=2_000_000)
    """Most artists with an embedding of their own, those with the most training tracks first."""
    max_years: int = Field(200, ge=1, le=10_000)
    """Most release years with an embedding of their own."""
    max_tags: int = Field(5_000, ge=1, le=1_000_000)
    """Most tags with an embedding of their own."""
    tags_per_track: int = Field(10, ge=1, le=1000)
    """Most tags of a track that are read, the heaviest first."""
    crops: int = Field(1, ge=1, le=100)
    """Windows of a track's audio that are read: one by chance a step in training, the mean of all in prediction."""
    workers: int = Field(2, ge=1)
    """Ranks; each needs a free task slot of Spark (train.distribution=single: always 1)."""
    distribution: Literal["auto", "horovod", "torch", "single"] = "auto"
    """What runs the ranks; auto: horovod where it imports, else torch; single: one rank, in the driver."""
    slots_timeout_s: int = Field(60, ge=0)
    """Seconds to wait for free task slots on a cluster before giving up."""
    threads: int | None = Field(None, ge=1)
    """CPU threads a rank; null shares the machine's cores among the ranks on it."""
    reader: Literal["petastorm", "arrow"] = "petastorm"
    """What reads the examples."""
    shard_mb: int = Field(32, ge=1, le=512)
    """Most MB of a file of examples, which is one Parquet row group."""
    seed: int = Field(1, ge=0)
    """Seed of weights, row order and dropout."""

    @property
    def reads_metadata(self) -> bool:
        """Whether the model has a metadata tower."""
        return self.model in ("fusion", "embeddings") and bool(self.fields)

    @field_validator("channels", "mlp")
    @classmethod
    def _sizes_positive(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 1:
            raise ValueError("layer sizes are at least 1")
        return sizes
