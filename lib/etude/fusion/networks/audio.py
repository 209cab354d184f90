"""Turn a mel spectrogram into an audio vector: three convolutions, then pooling over time and an LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from etude.config.train import TrainSettings


class TimeConvolutions(nn.Sequential):
    """Apply three convolutions over time, with mel bins as channels: (rows, n_mels, t) -> (rows, channels, t / 8)."""

    def __init__(self, n_mels: int, channels: tuple[int, int, int]):
        layers: list[nn.Module] = []
        for before, after in zip((n_mels, *channels), channels, strict=False):
            layers += [nn.Conv1d(before, after, kernel_size=3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool1d(2, ceil_mode=True)]
        super().__init__(*layers)


class PlaneConvolutions(nn.Sequential):
    """Apply three 2-D convolutions over mel bins and time, then the mean over mel bins; same shapes."""

    def __init__(self, channels: tuple[int, int, int]):
        layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))]
        for before, after in zip((1, *channels), channels, strict=False):
            layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2, ceil_mode=True)]
        super().__init__(*layers)

    def forward(self, mel: Tensor) -> Tensor:
        """Map (rows, n_mels, t) to (rows, channels, t / 8)."""
        return super().forward(mel).mean(dim=2)


class AudioTower(nn.Module):
    """Map normalised mel (rows, n_mels, t) to audio vectors (rows, `train.audio_size`)."""

    def __init__(self, settings: TrainSettings, n_mels: int, recurrent: bool):
        super().__init__()
        flat = settings.convolution == "time"
        self.convolutions = (
            TimeConvolutions(n_mels, settings.channels) if flat else PlaneConvolutions(settings.channels)
        )
        wide = settings.channels[-1]
        self.lstm = nn.LSTM(wide, settings.lstm_units, batch_first=True) if recurrent else None
        self.pools = not (recurrent and settings.lstm_alone)
        summary = (2 * wide if self.pools else 0) + (settings.lstm_units if recurrent else 0)
        self.dense = nn.Linear(summary, settings.audio_size)

    def forward(self, mel: Tensor) -> Tensor:
        """Compute the audio vectors, see the class."""
        steps = self.convolutions(mel)
        summary = [steps.mean(dim=2), steps.amax(dim=2)] if self.pools else []
        if self.lstm is not None:
            summary.append(self.lstm(steps.transpose(1, 2))[1][0][-1])
        return torch.relu(self.dense(torch.cat(summary, dim=1)))
