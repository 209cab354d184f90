"""From a mel spectrogram to an audio vector: three convolutions, then an LSTM or pooling over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from etude.config.train import TrainSettings


class TimeConvolutions(nn.Sequential):
    """Three convolutions over time, the mel bins being the channels: (rows, n_mels, t) -> (rows, channels, t / 8)."""

    def __init__(self, n_mels: int, channels: tuple[int, int, int]):
        layers: list[nn.Module] = []
        for before, after in zip((n_mels, *channels), channels, strict=False):
            layers += [nn.Conv1d(before, after, kernel_size=3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool1d(2, ceil_mode=True)]
        super().__init__(*layers)


class PlaneConvolutions(nn.Sequential):
    """Three convolutions over mel bins and time as over a picture, then the mean over mel bins; same shapes."""

    def __init__(self, channels: tuple[int, int, int]):
        layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))]
        for before, after in zip((1, *channels), channels, strict=False):
            layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2, ceil_mode=True)]
        super().__init__(*layers)

    def forward(self, mel: Tensor) -> Tensor:
        """(rows, n_mels, t) -> (rows, channels, t / 8)."""
        return super().forward(mel).mean(dim=2)


class AudioTower(nn.Module):
    """Normalised mel (rows, n_mels, t) -> audio vector (rows, `train.audio_size`)."""

    def __init__(self, settings: TrainSettings, n_mels: int, recurrent: bool):
        super().__init__()
        flat = settings.convolution == "time"
        self.convolutions = (
            TimeConvolutions(n_mels, settings.channels) if flat else PlaneConvolutions(settings.channels)
        )
        wide = settings.channels[-1]
        self.lstm = nn.LSTM(wide, settings.lstm_units, batch_first=True) if recurrent else None
        self.dense = nn.Linear(settings.lstm_units if recurrent else 2 * wide, settings.audio_size)

    def forward(self, mel: Tensor) -> Tensor:
        """See the class."""
        steps = self.convolutions(mel)
        if self.lstm is None:
            summary = torch.cat([steps.mean(dim=2), steps.amax(dim=2)], dim=1)
        else:
            summary = self.lstm(steps.transpose(1, 2))[1][0][-1]
        return torch.relu(self.dense(summary))
