"""List the trainings of each part of a comparison. Parts that need the same training share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from etude.config.compare import CompareSettings


@dataclass(frozen=True)
class Variant:
    """Describe a network: its name in run_ids, its name on the page, and the settings of `train` that make it."""

    name: str
    label: str
    train: Mapping[str, Any]

    @property
    def of_rates(self) -> bool:
        """Return whether it is one of Figure 3, whose epochs are kept."""
        return bool(self.train.get("keep_epochs"))


@dataclass(frozen=True)
class Trial:
    """Describe one training."""

    variant: Variant
    protocol: str
    seed: int

    @property
    def name(self) -> str:
        """Return the part of its run_id that distinguishes it from the comparison's other runs."""
        return f"{self.protocol}-{self.variant.name}-{self.seed}"


def _papers(name: str, label: str, **train: Any) -> Variant:
    """Return a network as the paper has it: without the regression, the sound summed up by the LSTM alone."""
    return Variant(name, label, MappingProxyType({"network_share": 1.0, "lstm_alone": True, **train}))


def _etudes(name: str, label: str, **train: Any) -> Variant:
    return Variant(name, label, MappingProxyType({"network_share": 1.0, "lstm_alone": False, **train}))


MODELS = {
    variant.name: variant
    for variant in (
        _papers("autoencoder", "autoencoder", model="autoencoder"),
        _papers("cnn", "CNN", model="cnn"),
        _papers("cnn_lstm", "CNN + LSTM", model="cnn_lstm"),
        _papers("embeddings", "embeddings", model="embeddings"),
        _papers("fusion", "fusion", model="fusion"),
        _papers("fusion_relu", "fusion, ReLU output", model="fusion", output_activation="relu"),
    )
}
"""Networks of Table 1 and Figure 2, by name."""

ABLATIONS = (
    MODELS["fusion"],
    _papers("embeddings", "without sound", model="embeddings"),
    _papers("no_artist", "without artist", model="fusion", fields=("year", "tags")),
    _papers("no_year", "without year", model="fusion", fields=("artist", "tags")),
    _papers("no_tags", "without tags", model="fusion", fields=("artist", "year")),
    _papers("cnn_lstm", "sound alone", model="cnn_lstm"),
)

OPTIONS = (
    MODELS["fusion"],
    _etudes("pooling", "mean and maximum over time beside the LSTM", model="fusion"),
    _etudes("regression", "regression alone", model="ridge"),
    _etudes("both", "network with pooling, and regression", model="fusion", network_share=None),
    _etudes("unhidden", "pooling, no input hidden in training", model="fusion", unknown_share=0.0),
    _etudes("no_dropout", "pooling, no dropout", model="fusion", dropout=0.0),
)


def rates(settings: CompareSettings) -> tuple[Variant, ...]:
    """Return fusion with each learning rate of Figure 3, without early stopping, all epochs kept."""
    return tuple(
        _papers(f"rate_{rate:g}", f"{rate:g}", model="fusion", learning_rate=rate, patience=None, keep_epochs=True)
        for rate in settings.learning_rates
    )


def variants_of(part: str, settings: CompareSettings) -> tuple[Variant, ...]:
    """Return the networks of a part; `knobs` has lakes of its own and none here."""
    if part in ("table1", "figure2"):
        return tuple(MODELS[name] for name in settings.models)
    return {"figure3": rates(settings), "ablations": ABLATIONS, "options": OPTIONS}.get(part, ())


def protocols_of(part: str, settings: CompareSettings) -> tuple[str, ...]:
    """Return the protocols of a part."""
    return settings.protocols if part in ("table1", "figure2") else settings.protocols[:1]


def trials(settings: CompareSettings) -> list[Trial]:
    """Return the trainings of all parts, each once; seed by seed, so that an unfinished comparison is balanced."""
    return list({trial.name: trial for seed in settings.seeds for trial in _with_seed(settings, seed)}.values())


def _with_seed(settings: CompareSettings, seed: int) -> Iterator[Trial]:
    for part in settings.parts:
        for protocol in protocols_of(part, settings):
            for variant in variants_of(part, settings):
                yield Trial(variant, protocol, seed)
