"""Which stages a pipeline runs, and which of them have nothing new to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pyarrow import fs
from pyspark.sql import Row

import etude
from etude.config import Settings, redacted_json
from etude.errors import SettingsError
from etude.job import Arguments
from etude.lake.lake import Lake
from etude.lake.ledger import Ledger
from etude.lake.tables import TABLES
from etude.storage import filesystem

STAGES = ("ingest", "mel", "wmf", "train", "topn", "report")
_EVALUATED = ("wmf", "train", "topn")
_EVALUATION_SUFFIX = "-eval"

# The settings that shape a stage's rows; a change in any other section leaves them as they are.
_SHAPING = {
    "ingest": ("listening", "catalogue"),
    "mel": ("audio", "mel"),
    "wmf": ("wmf", "evaluation", "inputs"),
    "train": ("train", "evaluation", "inputs"),
    "topn": ("topn", "evaluation", "inputs"),
}


@dataclass(frozen=True)
class Step:
    """One stage under one run_id and one set of settings."""

    stage: str
    arguments: Arguments


def plan(arguments: Arguments, first: str = STAGES[0], last: str = STAGES[-1]) -> list[Step]:
    """The steps from stage `first` to stage `last`: each evaluated stage under the evaluation protocol and under none.

    Raises:
        SettingsError: the stages are in the wrong order, or the run_id is too long to be given a suffix.
    """
    stages = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
    if not stages:
        raise SettingsError(f"--from {first} --to {last}: {last} comes before {first}")
    settings = arguments.settings
    evaluation_id = arguments.run_id + _EVALUATION_SUFFIX
    if len(evaluation_id) > 64:
        raise SettingsError(f"--run-id {arguments.run_id}: a pipeline's run_id has at most 59 characters")
    production = replace(arguments, settings=_under(settings, "none"))
    evaluation = replace(
        arguments, settings=_under(settings, settings.pipeline.evaluation_protocol), run_id=evaluation_id
    )
    runs = {"evaluation": evaluation, "production": production}
    if not settings.pipeline.evaluate:
        del runs["evaluation"]
    before = [Step(stage, production) for stage in stages if stage in ("ingest", "mel")]
    fitted = [Step(stage, run) for run in runs.values() for stage in stages if stage in _EVALUATED]
    reported = settings.report.model_copy(
        update={
            "evaluation_run_id": evaluation_id if settings.pipeline.evaluate else None,
            "production_run_id": arguments.run_id,
        }
    )
    report = replace(production, settings=production.settings.model_copy(update={"report": reported}))
    return before + fitted + [Step(stage, report) for stage in stages if stage == "report"]


def _under(settings: Settings, protocol: str) -> Settings:
    evaluation = settings.evaluation.model_copy(update={"protocol": protocol})
    return settings.model_copy(update={"evaluation": evaluation})


def has_audio(settings: Settings, lake: Lake) -> bool:
    """Whether the mel stage has anything to read."""
    if settings.audio.manifest or settings.audio.root:
        return True
    return lake.read("tracks").where("audio_uri IS NOT NULL").limit(1).count() > 0


def has_features(lake: Lake) -> bool:
    """Whether the network has anything to predict factors from."""
    known = lake.read("tracks").where("artist_id IS NOT NULL OR release_year IS NOT NULL OR size(tags) > 0")
    return known.limit(1).count() > 0 or lake.read("mel").limit(1).count() > 0


def fingerprint(stage: str, settings: Settings, batch_date: date) -> dict[str, int]:
    """Name -> 63-bit hash of path, size and modification time of all files that a stage reads from outside the lake.

    -1 where no file was found under the path as it is written (a pattern, say): such a stage is never up to date.
    """
    found: dict[str, int] = {}
    if stage == "ingest":
        if settings.listening.path:
            found["listening.path"] = _listing_hash(
                [settings.listening.path.replace("{batch_date}", batch_date.isoformat())]
            )
        found["catalogue.sources"] = _listing_hash(source.path for source in settings.catalogue.sources)
    if stage == "mel":
        found["audio"] = _listing_hash(path for path in (settings.audio.manifest, settings.audio.root) if path)
    return found


def _listing_hash(paths: Iterable[str]) -> int:
    digest = hashlib.sha256()
    for path in paths:
        files = 0
        system, inside = filesystem(path)
        infos = [system.get_file_info(inside)]
        if infos[0].type == fs.FileType.Directory:
            infos = system.get_file_info(fs.FileSelector(inside, recursive=True))
        for info in sorted(infos, key=lambda info: str(info.path)):
            if info.type == fs.FileType.File:
                files += 1
                digest.update(f"{info.path}\0{info.size}\0{info.mtime_ns}\n".encode())
        if not files:
            return -1
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def up_to_date(step: Step, ledger: Ledger, outside: dict[str, int]) -> bool:
    """Whether the step's run succeeded already with these settings, this package version and the same inputs."""
    settings = _SHAPING.get(step.stage)
    if settings is None:
        return False
    arguments = step.arguments
    done = ledger.succeeded_run(step.stage, arguments.run_id)
    return (
        done is not None
        and done["package_version"] == etude.__version__
        and _shaping(done["settings"], settings) == _shaping(redacted_json(arguments.settings), settings)
        and all(value >= 0 and done["inputs"].get(name) == value for name, value in outside.items())
        and _tables_unchanged(done, ledger)
        and not ledger.is_outdated(step.stage, arguments.run_id)
    )


def _shaping(settings: str, sections: tuple[str, ...]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(settings)
    return {name: loaded.get(name) for name in sections}


def _tables_unchanged(done: Row, ledger: Ledger) -> bool:
    """Tables shared by runs are compared by version; those with run_ids by the upstream run that wrote the rows.

    A table that the run itself wrote has moved on by its own commit: the version it left is the one to compare.
    """
    versions = {**done["inputs"], **done["outputs"]}
    shared = [name for name in done["inputs"] if name in TABLES and not TABLES[name].has_runs]
    return all(ledger.lake.version(name) == versions[name] for name in shared if name != "rejects")
