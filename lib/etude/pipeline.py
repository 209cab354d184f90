"""List the steps of a pipeline, and find those that have nothing new to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import etude
from etude import stages
from etude.arguments import Arguments, check_room
from etude.config import Settings, redacted
from etude.config.listening import of_batch
from etude.config.non_defaults import flatten
from etude.errors import EtudeError, SettingsError
from etude.lake import folders, ledger, releases
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.runs import ABSENT, Run, utc_now
from etude.lake.tables import TABLES
from etude.pseudonym import KEY_VARIABLE, lake_user_id
from etude.storage import exists, files_below

_EVALUATION_SUFFIX = "-eval"
_NOT_INPUTS = ("rejects", "runs", "releases", "metrics")  # every run moves these on


@dataclass(frozen=True)
class Step:
    """Hold one stage with the run_id and settings that it runs under."""

    stage: str
    arguments: Arguments

    @property
    def evaluates(self) -> bool:
        """Return whether it runs under an evaluation protocol."""
        return self.arguments.settings.evaluation.protocol != "none"

    def without_evaluation(self) -> Step:
        """Return the step for a pipeline whose evaluation found nothing to measure."""
        return replace(self, arguments=self.arguments.changed(report={"evaluation_run_id": None}))


def steps(arguments: Arguments, first: str | None = None, last: str | None = None) -> list[Step]:
    """Return the steps from stage `first` to stage `last`.

    Each stage with a protocol runs under the evaluation protocol and then under none. If an earlier pipeline's network
    is to predict (train.network_run_id), the evaluated runs take that of its evaluated run.

    Raises:
        SettingsError: the stages are in the wrong order, or the run_id is too long for a suffix.
    """
    names = [stage.name for stage in stages.steps()]
    first, last = first or names[0], last or names[-1]
    chosen = [stages.stage_of(name) for name in names[names.index(first) : names.index(last) + 1]]
    if not chosen:
        raise SettingsError(f"--from {first} --to {last}: {last} comes before {first}")
    settings = arguments.settings
    evaluation_id = arguments.run_id + _EVALUATION_SUFFIX
    check_room(arguments.run_id, 64 - len(_EVALUATION_SUFFIX), "a pipeline's")
    production = arguments.changed(evaluation={"protocol": "none"})
    runs = [production]
    if settings.pipeline.evaluate:
        network = settings.train.network_run_id
        evaluation = arguments.changed(
            evaluation_id,
            evaluation={"protocol": evaluation_protocol(settings)},
            train={"network_run_id": network and network + _EVALUATION_SUFFIX},
        )
        runs.insert(0, evaluation)
    report = production
    if any(stage.name == "topn" for stage in chosen):
        shown = {run.settings.evaluation.protocol == "none": run.run_id for run in runs}
        update = {"production_run_id": shown[True], "evaluation_run_id": shown.get(False)}
        report = production.changed(report=update)
    return [
        *(Step(stage.name, production) for stage in chosen if stage.step == "once"),
        *(Step(stage.name, run) for run in runs for stage in chosen if stage.step == "protocol"),
        *(Step(stage.name, report) for stage in chosen if stage.step == "report"),
    ]


def evaluation_protocol(settings: Settings) -> str:
    """Return the protocol of the evaluated runs.

    It is pipeline.evaluation_protocol if that is set, else evaluation.protocol unless that is none, else strict.
    """
    asked = settings.pipeline.evaluation_protocol
    return asked or (settings.evaluation.protocol if settings.evaluation.protocol != "none" else "strict")


def fingerprints(stage: str, settings: Settings, batch_date: date) -> dict[str, int]:
    """Return name -> 63-bit hash of path, size and modification time of all files read from outside the lake.

    It is -1 if no file was found under the path as written (a pattern, say): such a stage is never up to date. The hash
    that the key of user ids gives to an id counts as one more input: with another key all users are new ones.
    """
    if stage == "topn" and settings.topn.never:
        return {"topn.never": _listing_hash([settings.topn.never])}
    if stage != "ingest":
        return {}
    found = {"catalogue.sources": _listing_hash(source.path for source in settings.catalogue.sources)}
    if settings.catalogue.aliases:
        found["catalogue.aliases"] = _listing_hash(source.path for source in settings.catalogue.aliases)
    if settings.listening.path:
        found["listening.path"] = _listing_hash([of_batch(settings.listening.path, batch_date)])
    found[KEY_VARIABLE] = _as_number(hashlib.sha256(lake_user_id("any user").encode()))
    return found


def _listing_hash(paths: Iterable[str]) -> int:
    digest = hashlib.sha256()
    for path in paths:
        files = files_below(path)
        if not files:
            return -1
        for info in sorted(files, key=lambda info: str(info.path)):
            digest.update(f"{info.path}\0{info.size}\0{info.mtime_ns}\n".encode())
    return _as_number(digest)


def _as_number(digest: Any) -> int:
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def up_to_date(step: Step, lake: Lake, outside: dict[str, int]) -> bool:
    """Tell if running the step again would leave everything as it is.

    That is so if its run has succeeded with these settings, batch_date and package version, its inputs are still the
    same ones, and its lists have been published if they were to be.
    """
    stage = stages.stage_of(step.stage)
    if stage.shaped_by is None:
        return False
    arguments = step.arguments
    done = ledger.find(lake, step.stage, arguments.run_id)
    if done is None or not done.succeeded:
        return False
    graph = ledger.graph(lake)
    return (
        done.package_version == etude.__version__
        and done.batch_date == arguments.batch_date
        and _shaping(stage, done.settings) == _shaping(stage, redacted(arguments.settings))
        and all(value >= 0 and done.fingerprints.get(name) == value for name, value in outside.items())
        and _tables_unchanged(done, lake, graph)
        and _same_upstream(step, done, lake, graph)
        and not graph.is_outdated(step.stage, arguments.run_id)
        and _same_network(done, graph)
        and _published(step, done, lake, graph)
        and (stage.step != "report" or _still_shows(step, done, lake, graph))
    )


def _still_shows(step: Step, done: Run, lake: Lake, graph: RunGraph) -> bool:
    """Tell if the report's page is there, and no run has changed the lake or been published since its job started."""
    path = folders.report(lake.root, step.arguments.run_id, step.arguments.settings.report.path)
    release = releases.current(lake)
    published_since = release is not None and release.since >= done.started_at
    return exists(path) and not graph.changed_since(done.started_at) and not published_since


def _shaping(stage: stages.Stage, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that shape a stage's rows, as section.key -> value."""
    return {
        key: value
        for section in stage.shaped_by or ()
        for key, value in flatten({section: settings.get(section, {})})
        if key not in stage.not_shaped_by
    }


def _tables_unchanged(done: Run, lake: Lake, graph: RunGraph) -> bool:
    """Compare tables that runs share by version; those with run_ids follow from the upstream run that wrote the rows.

    A table that the run itself wrote has moved on by its own commit: the version that it left is the one to compare.
    Somebody else's commit while the run was at work counts as a change, since the run didn't read it.
    """
    shared = [name for name in done.inputs if not TABLES[name].has_runs and name not in _NOT_INPUTS]
    found = {name: graph.counted(name, lake.version(name), done.job) for name in shared}
    left = {name: max(done.inputs[name], done.outputs.get(name, ABSENT)) for name in shared}
    if left != {name: ABSENT if version is None else version for name, version in found.items()}:
        return False
    return not any(lake.changed_by_others(name, done) for name in shared)


def _same_upstream(step: Step, done: Run, lake: Lake, graph: RunGraph) -> bool:
    """Tell if the run would choose the same upstream runs now, and no stage before it has come to run since."""
    arguments = step.arguments
    settings = arguments.settings
    now = Run(arguments.run_id, step.stage, arguments.batch_date, settings.evaluation.protocol, utc_now())
    release = releases.current(lake)
    try:
        for stage in sorted(done.upstream, key=list(stages.STAGES).index):
            chosen = releases.choose_upstream(stage, now, graph, release, settings.inputs, done)
            now.upstream[stage] = [chosen]
    except EtudeError:
        return False
    own = stages.stage_of(step.stage)
    came = [
        stage
        for stage in own.builds_on
        if stage not in done.upstream and stage != step.stage and graph.succeeded(stage, arguments.run_id)
    ]
    if own.chooses and step.stage not in done.upstream and settings.evaluation.protocol != "strict":
        came += [run.job for run in graph.newest((step.stage,), ("strict",))]
    return now.upstream == done.upstream and not came


def _same_network(done: Run, graph: RunGraph) -> bool:
    """Tell if the network that a train run took from another (train.network_run_id) hasn't been trained again since."""
    name = done.facts.get("network_of")
    network = None if name is None else graph.succeeded("train", name)
    return name is None or (network is not None and (network.ended_at or done.started_at) <= done.started_at)


def _published(step: Step, done: Run, lake: Lake, graph: RunGraph) -> bool:
    """Tell if a topn run's lists have been published since it ended, or don't have to be.

    A run that was killed between its success and its release has to be published. One that a person rolled back stays
    rolled back.
    """
    arguments = step.arguments
    settings = arguments.settings
    if step.stage != "topn" or settings.evaluation.protocol != "none" or not settings.topn.publish:
        return True
    ended = done.ended_at or done.started_at
    released = any(each.run_of("topn") == arguments.run_id and each.since >= ended for each in releases.releases(lake))
    return released or releases.served_by(releases.current(lake), graph, arguments.batch_date) is not None
