"""Which stages a pipeline runs, and which of them have nothing new to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pyarrow import fs

import etude
from etude.arguments import Arguments
from etude.config import Settings, redacted_json
from etude.errors import EtudeError, SettingsError
from etude.lake.lake import Lake
from etude.lake.ledger import Entry, Ledger, RunRecord, utc_now
from etude.lake.tables import IN_FORCE_BY, TABLES
from etude.pseudonym import KEY_VARIABLE, lake_user_id
from etude.storage import filesystem

STAGES = ("ingest", "mel", "wmf", "train", "topn", "report")
_EVALUATED = ("wmf", "train", "topn")
_EVALUATION_SUFFIX = "-eval"
_NOT_INPUTS = ("rejects", "runs", "current", "metrics")  # every run moves these on

# The settings that shape a stage's rows; a change in any other section leaves them as they are. A stage that isn't here
# is run each time: mel looks at every audio file itself and writes nothing where nothing changed.
_SHAPING = {
    "ingest": ("listening", "catalogue"),
    "wmf": ("wmf", "evaluation", "inputs", "listening"),
    "train": ("train", "evaluation", "inputs", "mel"),
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
    runs = [production]
    if settings.pipeline.evaluate:
        evaluation = _under(settings, evaluation_protocol(settings))
        runs.insert(0, replace(arguments, settings=evaluation, run_id=evaluation_id))
    before = [Step(stage, production) for stage in stages if stage in ("ingest", "mel")]
    fitted = [Step(stage, run) for run in runs for stage in stages if stage in _EVALUATED]
    reported = settings.report
    if "topn" in stages:
        shown = {run.settings.evaluation.protocol == "none": run.run_id for run in runs}
        update = {"production_run_id": shown[True], "evaluation_run_id": shown.get(False)}
        reported = reported.model_copy(update=update)
    report = replace(production, settings=production.settings.model_copy(update={"report": reported}))
    return before + fitted + [Step(stage, report) for stage in stages if stage == "report"]


def evaluation_protocol(settings: Settings) -> str:
    """The protocol of the evaluated runs: pipeline.evaluation_protocol, else evaluation.protocol, else strict."""
    asked = settings.pipeline.evaluation_protocol
    return asked or (settings.evaluation.protocol if settings.evaluation.protocol != "none" else "strict")


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

    -1 where no file was found under the path as it is written (a pattern, say): such a stage is never up to date. What
    the key of user ids makes of an id counts as one more input: with another key all users are new ones.
    """
    if stage != "ingest":
        return {}
    found = {"catalogue.sources": _listing_hash(source.path for source in settings.catalogue.sources)}
    if settings.listening.path:
        path = settings.listening.path.replace("{batch_date}", batch_date.isoformat())
        found["listening.path"] = _listing_hash([path])
    found[KEY_VARIABLE] = _as_number(hashlib.sha256(lake_user_id("any user").encode()))
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
    return _as_number(digest)


def _as_number(digest: Any) -> int:
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def up_to_date(step: Step, ledger: Ledger, outside: dict[str, int]) -> bool:
    """Whether running the step again would leave everything as it is.

    Its run has succeeded with these settings, batch_date and package version, on inputs that are still the same ones;
    and what it was to bring into force is in force.
    """
    settings = _SHAPING.get(step.stage)
    if settings is None:
        return False
    arguments = step.arguments
    done = ledger.succeeded_run(step.stage, arguments.run_id)
    return (
        done is not None
        and done["package_version"] == etude.__version__
        and done["batch_date"] == arguments.batch_date
        and _shaping(done["settings"], settings) == _shaping(redacted_json(arguments.settings), settings)
        and all(value >= 0 and done["inputs"].get(name) == value for name, value in outside.items())
        and _tables_unchanged(done, ledger)
        and _same_upstream(step, done, ledger)
        and not ledger.is_outdated(step.stage, arguments.run_id)
        and _in_force(step, ledger)
    )


def _shaping(settings: str, sections: tuple[str, ...]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(settings)
    return {name: loaded.get(name) for name in sections}


def _tables_unchanged(done: Entry, ledger: Ledger) -> bool:
    """Tables shared by runs are compared by version; those with run_ids by the upstream run that wrote the rows.

    A table that the run itself wrote has moved on by its own commit: the version it left is the one to compare.
    """
    read, wrote = done["inputs"], done["outputs"]
    shared = [name for name in read if name in TABLES and not TABLES[name].has_runs and name not in _NOT_INPUTS]
    return all(ledger.lake.version(name) == max(read[name], wrote.get(name, 0)) for name in shared)


def _same_upstream(step: Step, done: Entry, ledger: Ledger) -> bool:
    """Whether the run would choose the same upstream runs now, and no stage before it has come to run since."""
    arguments = step.arguments
    settings = arguments.settings
    protocol = settings.evaluation.protocol
    now = RunRecord(arguments.run_id, step.stage, arguments.batch_date, protocol, "", "", utc_now())
    now.built_on = done["upstream"]
    try:
        for stage in sorted(done["upstream"], key=STAGES.index):
            now.upstream[stage] = ledger.upstream(stage, getattr(settings.inputs, f"{stage}_run_id"), now)
    except EtudeError:
        return False
    trained = step.stage == "topn" and "train" not in now.upstream and ledger.is_succeeded("train", arguments.run_id)
    return now.upstream == done["upstream"] and not trained


def _in_force(step: Step, ledger: Ledger) -> bool:
    """A topn run that was killed after its success and before `current` moved has to bring its lists into force."""
    arguments = step.arguments
    if step.stage != "topn" or arguments.settings.evaluation.protocol != "none":
        return True
    in_force = ledger.current(IN_FORCE_BY["topn"])
    return in_force == arguments.run_id or ledger.overtaken(arguments.batch_date) is not None
