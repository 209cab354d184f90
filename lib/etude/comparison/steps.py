"""Turn a comparison into steps of a pipeline: the stages before the trainings, and the trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etude.arguments import Arguments
from etude.comparison.trials import Trial
from etude.config import Settings
from etude.config.demo import DemoSettings
from etude.errors import SettingsError
from etude.pipeline import Step

LONGEST_RUN_ID = 40
"""Characters of a comparison's run_id, so that those of its trainings have at most 64."""


def wmf_run(run_id: str, protocol: str) -> str:
    """Return the run_id of the factorisation under a protocol."""
    return f"{run_id}-{protocol}"


def train_run(run_id: str, trial: Trial) -> str:
    """Return the run_id of a training."""
    return f"{run_id}-{trial.name}"


def first_steps(arguments: Arguments, protocols: Sequence[str]) -> list[Step]:
    """Return the steps before the trainings: ingest, mel, and a factorisation under each protocol."""
    once = arguments.changed(evaluation={"protocol": "none"})
    fits = [arguments.changed(wmf_run(arguments.run_id, each), evaluation={"protocol": each}) for each in protocols]
    return [Step("ingest", once), Step("mel", once), *(Step("wmf", fit) for fit in fits)]


def train_step(arguments: Arguments, trial: Trial) -> Step:
    """Return the step of a training."""
    changed = arguments.changed(
        train_run(arguments.run_id, trial),
        evaluation={"protocol": trial.protocol},
        inputs={"wmf_run_id": wmf_run(arguments.run_id, trial.protocol)},
        train={**trial.variant.train, "seed": trial.seed},
    )
    return Step("train", changed)


def knob_corpus(demo: DemoSettings, audible: float) -> DemoSettings:
    """Return the demo corpus with another audible share; the other shares keep their proportions.

    The sound doesn't depend on the artist, so that no other share can be heard.
    """
    rest = (1 - audible) / (1 - demo.share_audible) if demo.share_audible < 1 else 0.0
    others = {name: getattr(demo, name) * rest for name in ("share_artist", "share_tags", "share_year")}
    return demo.model_copy(update={"share_audible": audible, "artist_cohesion": 0.0, **others})


def knob_arguments(arguments: Arguments, folder: Path) -> Arguments:
    """Return the arguments with the paths of a corpus of the same layout in `folder`.

    The lake is in that folder too, so that another corpus, which replaces the folder, starts with another lake.

    Raises:
        SettingsError: the settings don't read a demo corpus.
    """
    settings = arguments.settings
    if settings.audio.manifest is None:
        raise SettingsError("compare.parts: knobs needs the settings of a demo corpus, such as --config conf/demo.yaml")
    before = str(Path(settings.audio.manifest).parent)
    text = settings.model_dump_json(include={"listening", "catalogue", "audio"})
    moved = Settings.model_validate_json(text.replace(before, str(folder)))
    sections = {name: getattr(moved, name) for name in ("listening", "catalogue", "audio")}
    lake = settings.lake.model_copy(update={"root": str(folder / "lake")})
    return replace(arguments, settings=settings.model_copy(update={**sections, "lake": lake}))
