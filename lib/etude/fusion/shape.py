"""Describe the size of an example, on which networks, readers and tables must agree."""

from __future__ import annotations

from dataclasses import dataclass

from etude.config.train import TrainSettings
from etude.fusion.vocabulary import FIRST_ARTIST, FIRST_TAG, FIRST_YEAR, Vocabulary


@dataclass(frozen=True)
class MelShape:
    """Hold the size of the mel rows that a run reads; 0 x 0 if it reads none."""

    n_mels: int = 0
    n_frames: int = 0


@dataclass(frozen=True)
class ExampleShape:
    """Hold the sizes of an example's arrays and of the embeddings behind its indices (reserved rows included)."""

    n_mels: int
    """Mel filters; 0 without audio."""
    n_frames: int
    """Frames; 0 without audio."""
    crops: int
    """Windows of audio per track."""
    artists: int
    """Rows of the artist embedding."""
    years: int
    """Rows of the year embedding."""
    tags: int
    """Rows of the tag embedding."""
    tags_per_track: int
    """Length of tag_indices and tag_weights."""
    rank: int
    """Length of the target factors."""

    @property
    def mel_size(self) -> int:
        """Return the length of the mel array of an example."""
        return self.crops * self.n_mels * self.n_frames

    @property
    def row_bytes(self) -> int:
        """Return the bytes of an example's arrays."""
        return 4 * (self.mel_size + 2 * self.tags_per_track + self.rank + 4)


def example_shape(settings: TrainSettings, vocabulary: Vocabulary, mel: MelShape, rank: int) -> ExampleShape:
    """Return the shape that follows from settings, vocabulary, mel rows and the length of the factors."""
    return ExampleShape(
        n_mels=mel.n_mels,
        n_frames=mel.n_frames,
        crops=settings.crops,
        artists=len(vocabulary.artists) + FIRST_ARTIST,
        years=len(vocabulary.years) + FIRST_YEAR,
        tags=len(vocabulary.tags) + FIRST_TAG,
        tags_per_track=settings.tags_per_track,
        rank=rank,
    )
