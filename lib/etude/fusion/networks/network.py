"""Build the networks that predict factors: the towers of each model, and the layers that all share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from etude.config.train import TrainSettings
from etude.errors import SettingsError
from etude.fusion.moments import Moments
from etude.fusion.networks.audio import AudioTower
from etude.fusion.networks.autoencoder import Autoencoder
from etude.fusion.networks.metadata import Batch, MetadataTower
from etude.fusion.shape import ExampleShape


class FactorNetwork(nn.Module):
    """Concatenate an audio tower, a metadata tower or both, and map them to factors by one dense layer.

    Batches are dictionaries of tensors. An audio tower reads `mel` (rows, n_mels, n_frames) in dB and `has_mel`
    (rows,). A metadata tower reads `artist_index`, `year_index` (rows,), `tag_indices` and `tag_weights` (rows, tags).
    The network normalises its inputs and converts its outputs to factors with the statistics of the training rows. The
    statistics are therefore stored with the weights.
    """

    mel_mean: Tensor
    mel_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        audio: AudioTower | Autoencoder | None,
        metadata: MetadataTower | None,
        settings: TrainSettings,
        shape: ExampleShape,
    ):
        super().__init__()
        if audio is None and metadata is None:
            raise SettingsError(f"train.model={settings.model}: nothing to learn from (no audio, no train.fields)")
        self.audio, self.metadata = audio, metadata
        self.literal_relu = settings.output_activation == "relu"
        self.register_buffer("mel_mean", torch.zeros(shape.n_mels))
        self.register_buffer("mel_std", torch.ones(shape.n_mels))
        self.register_buffer("target_mean", torch.zeros(shape.rank))
        self.register_buffer("target_std", torch.ones(shape.rank))
        if audio is not None:
            # Replaces the audio vector of a track without sound.
            self.no_audio = nn.Parameter(torch.zeros(settings.audio_size))
        wide = (settings.audio_size if audio else 0) + (settings.mlp[1] if metadata else 0)
        self.output = nn.Linear(wide, shape.rank)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the columns of the examples that the network reads."""
        return (("mel", "has_mel") if self.audio else ()) + (self.metadata.inputs if self.metadata else ())

    def set_moments(self, moments: Mapping[str, Moments]) -> None:
        """Set the statistics of the training rows: `target`, and `mel` if there is audio."""
        for name, values in moments.items():
            getattr(self, f"{name}_mean").copy_(torch.from_numpy(values.mean))
            getattr(self, f"{name}_std").copy_(torch.from_numpy(values.std))

    def forward(self, batch: Batch) -> Tensor:
        """Return standardised factors, (rows, rank)."""
        parts = []
        if self.audio is not None:
            mel, heard = self._sound(batch)
            parts.append(heard * self.audio(mel) + (1 - heard) * self.no_audio)
        if self.metadata is not None:
            parts.append(self.metadata(batch))
        standardised = self.output(torch.cat(parts, dim=1))
        if self.literal_relu:
            return self.standardise(torch.relu(self.factors(standardised)))
        return standardised

    def loss(self, batch: Batch, target: Tensor) -> Tensor:
        """Return what a training step lessens: the mean squared error of standardised factors, (rows, rank).

        An autoencoder's error in rebuilding the sound is added; the two share no weights.
        """
        error = mse_loss(self(batch), target)
        if isinstance(self.audio, Autoencoder):
            error = error + self.audio.loss(*self._sound(batch))
        return error

    def _sound(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the normalised mel (rows, n_mels, n_frames), and 1 for rows with sound, else 0: (rows, 1)."""
        mel = (batch["mel"] - self.mel_mean[:, None]) / self.mel_std[:, None]
        return mel, batch["has_mel"][:, None].to(mel.dtype)

    def standardise(self, factors: Tensor) -> Tensor:
        """Scale factors to mean 0 and deviation 1 over the training rows."""
        return (factors - self.target_mean) / self.target_std

    def factors(self, standardised: Tensor) -> Tensor:
        """Reverse `standardise`."""
        return standardised * self.target_std + self.target_mean


def build_network(settings: TrainSettings, shape: ExampleShape) -> FactorNetwork:
    """Return the network that `train.model` names, with initial weights from torch's generator.

    Raises:
        SettingsError: the model reads only audio and there is none, or the model has no input at all.
    """
    hears = settings.model != "embeddings" and shape.mel_size > 0
    if settings.model in ("autoencoder", "cnn", "cnn_lstm") and not hears:
        raise SettingsError(f"train.model={settings.model} reads only audio, and there are no mel rows")
    audio: AudioTower | Autoencoder | None = None
    if hears and settings.model == "autoencoder":
        audio = Autoencoder(settings, shape.n_mels, shape.n_frames)
    elif hears:
        audio = AudioTower(settings, shape.n_mels, recurrent=settings.model != "cnn")
    return FactorNetwork(
        audio,
        MetadataTower(settings, shape) if settings.reads_metadata else None,
        settings,
        shape,
    )


class TrainingLoss(nn.Module):
    """Return a network's loss, so that what a distribution wraps sees the whole of a training step."""

    def __init__(self, network: FactorNetwork):
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, target: Tensor) -> Tensor:
        """Return the loss, see `FactorNetwork.loss`."""
        return self.network.loss(batch, target)
