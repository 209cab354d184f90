"""Define the settings of the network's training and of the prediction of factors."""

from typing import Literal

from pydantic import Field, field_validator

from etude.config.base import Section


class TrainSettings(Section):
    """Configure training and batch prediction."""

    model: Literal["fusion", "autoencoder", "cnn", "cnn_lstm", "embeddings", "ridge"] = "fusion"
    """Network to train: fusion reads audio and metadata; autoencoder, cnn and cnn_lstm audio alone; embeddings metadata
    alone. An autoencoder learns its code from the sound, and the factors by one layer from the code. ridge trains
    no network: it is the regression alone, in seconds."""
    network_run_id: str | None = None
    """The train run whose network predicts again; only the regression is fitted anew. Its factors must have the basis
    of the wmf run: the same fit, or one that was refitted from it or folded into it. null: a network is trained."""
    unknown_warning: float = Field(0.2, ge=0, le=1)
    """Share of unknown artists, among tracks with an artist, above which a network of an earlier run should be replaced
    and train warns."""
    fields: tuple[Literal["artist", "year", "tags"], ...] = ("artist", "year", "tags")
    """Metadata that fusion, embeddings and ridge read; omit one for an ablation."""
    network_share: float | None = Field(None, ge=0, le=1)
    """Share s of the network in predicted factors: s x network + (1 - s) x ridge regression on the same inputs. null:
    the one with the least squared error on validation tracks, 0.5 without such tracks. 1: the network alone."""
    ridge_mb: int = Field(900, ge=1)
    """Most MB of examples that the regression reads into the driver; of more, it reads a sample. A larger value needs a
    larger spark.driver.maxResultSize (default 1g)."""
    epochs: int = Field(100, ge=1)
    """Largest number of epochs."""
    patience: int | None = Field(10, ge=1)
    """Number of epochs without a better validation loss after which training stops; null trains all epochs."""
    keep_epochs: bool = False
    """Whether the checkpoint of every epoch is kept; false: of the best and the last."""
    learning_rate: float = Field(0.001, gt=0)
    """Adam's step size."""
    learning_rate_scaling: Literal["none", "linear"] = "none"
    """linear: the step size is that of learning_rate times the number of ranks, which together read larger batches; it
    grows from learning_rate to that over warmup_epochs."""
    warmup_epochs: int = Field(5, ge=1)
    """Number of epochs over which a scaled step size grows."""
    weight_decay: float = Field(0.0, ge=0)
    """Adam's L2 penalty on all weights."""
    batch_size: int = Field(64, ge=1)
    """Rows per step and rank."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the metadata network's hidden units dropped in training."""
    unknown_share: float = Field(0.1, ge=0, lt=1)
    """Probability in training that a known artist, year, tag list or sound is masked, so that the network also learns
    `unknown`."""
    output_activation: Literal["linear", "relu"] = "linear"
    """Activation of the output layer; relu follows the paper but cannot represent negative factors."""
    convolution: Literal["time", "2d"] = "time"
    """time: convolutions over time with the mel bins as channels; 2d: over mel bins and time, several times slower."""
    channels: tuple[int, int, int] = (64, 128, 128)
    """Output channels of the three convolutions."""
    lstm_units: int = Field(100, ge=1)
    """Size of the LSTM's state."""
    lstm_alone: bool = False
    """Whether the LSTM's last state alone sums up the sound, as in the paper; false: beside mean and maximum over
    time."""
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
    """Largest number of artists with their own embedding, those with the most training tracks first."""
    max_years: int = Field(200, ge=1, le=10_000)
    """Largest number of release years with their own embedding."""
    max_tags: int = Field(5_000, ge=1, le=1_000_000)
    """Largest number of tags with their own embedding."""
    tags_per_track: int = Field(60, ge=1, le=1000)
    """Largest number of tags read per track, the heaviest first."""
    crops: int = Field(1, ge=1, le=100)
    """Number of crops read per track: training reads a random one per step, prediction the mean over all."""
    workers: int = Field(2, ge=1)
    """Number of ranks; each needs a free Spark task slot (train.distribution=single: always 1)."""
    distribution: Literal["auto", "horovod", "torch", "single"] = "auto"
    """Backend that runs the ranks; auto: horovod if it can be imported, otherwise torch; single: one rank in the
    driver."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the ranks compute; auto: on GPUs if every rank has one and its distribution can average there, otherwise on
    the CPU. Checkpoints fit both."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers in which the layers compute; weights, sums and losses are always float32."""
    slots_timeout_s: int = Field(60, ge=0)
    """Seconds to wait for free task slots on a cluster before the run fails."""
    threads: int | None = Field(None, ge=1)
    """CPU threads per rank; null divides a machine's cores among its ranks."""
    reader: Literal["petastorm", "arrow"] = "petastorm"
    """Reader of the examples."""
    shard_mb: int = Field(32, ge=1, le=512)
    """Largest size in MB of a file of examples, which is one Parquet row group."""
    seed: int = Field(1, ge=0)
    """Seed of weights, row order and dropout."""

    @property
    def reads_metadata(self) -> bool:
        """Return whether the model reads metadata."""
        return self.model in ("fusion", "embeddings", "ridge") and bool(self.fields)

    @property
    def trains_network(self) -> bool:
        """Return whether a network is trained beside the regression."""
        return self.model != "ridge" and self.network_run_id is None

    @field_validator("channels", "mlp")
    @classmethod
    def _sizes_positive(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 1:
            raise ValueError(f"layer size {min(sizes)} found; expected at least 1")
        return sizes
