"""Compress a mel spectrogram into a code from which it can be rebuilt; the code is the audio vector."""

from __future__ import annotations

from torch import Tensor, nn

from etude.config.train import TrainSettings

_HALVINGS = 3


class Autoencoder(nn.Module):
    """Map normalised mel (rows, n_mels, t) to codes (rows, `train.audio_size`), learned from the sound alone.

    Three convolutions over time, each halving it, and a dense layer make the code; their mirror image rebuilds the
    mel. Factors don't shape the code: no gradient of what is computed from it reaches the encoder (Hinton &
    Salakhutdinov 2006).
    """

    def __init__(self, settings: TrainSettings, n_mels: int, n_frames: int):
        super().__init__()
        short = -(-n_frames // 2**_HALVINGS)
        channels, code = settings.channels, settings.audio_size
        self.n_frames = n_frames
        down: list[nn.Module] = []
        for before, after in zip((n_mels, *channels), channels, strict=False):
            down += [nn.Conv1d(before, after, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool1d(2, ceil_mode=True)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(channels[-1] * short, code))
        up: list[nn.Module] = []
        for before, after in zip(channels[::-1], (*channels[-2::-1], n_mels), strict=True):
            up += [nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv1d(before, after, kernel_size=3, padding=1)]
        self.decoder = nn.Sequential(nn.Linear(code, channels[-1] * short), nn.Unflatten(1, (channels[-1], short)), *up)

    def forward(self, mel: Tensor) -> Tensor:
        """Compute the codes, see the class."""
        return self.encoder(mel).detach()

    def loss(self, mel: Tensor, heard: Tensor) -> Tensor:
        """Return the mean squared error of the rebuilt mel over the rows with sound; 0 if none has it.

        Args:
            mel: (rows, n_mels, t), normalised.
            heard: (rows, 1), 1 if the row has sound, otherwise 0.
        """
        rebuilt = self.decoder(self.encoder(mel))[:, :, : self.n_frames]
        errors = (rebuilt - mel).square().mean(dim=(1, 2))
        return (errors * heard[:, 0]).sum() / heard.sum().clamp(min=1)
