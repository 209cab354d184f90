"""Judge the networks of a comparison, and the baselines beside them, in the lake that holds their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame

from etude import fitting, storage
from etude.comparison import outcomes
from etude.comparison.bootstrap import Figures, compare
from etude.comparison.contest import Contest, Judged, by_chance, judge
from etude.comparison.curves import recall_at
from etude.comparison.steps import train_run, wmf_run
from etude.comparison.trials import MODELS, Trial
from etude.config import Settings
from etude.errors import DataCheckError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.features import FEATURE_COLUMNS
from etude.lake import folders
from etude.lake.graph import RunGraph
from etude.ranking.inputs import track_facts
from etude.splits import training_plays


@dataclass(frozen=True)
class Source:
    """Hold where the runs of a comparison are.

    Attributes:
        read: reads a table of the lake: (table, version=None, **equals) -> rows.
        graph: the lake's runs.
        root: of the lake.
        run_id: of the comparison.
        settings: of the comparison.
    """

    read: Callable[..., DataFrame]
    graph: RunGraph
    root: str
    run_id: str
    settings: Settings

    def wmf_rows(self, table: str, protocol: str) -> DataFrame:
        """Return the rows of a table that the factorisation under a protocol wrote."""
        return self.read(table, run_id=wmf_run(self.run_id, protocol))

    def interactions(self, protocol: str) -> DataFrame:
        """Return the interactions that the factorisation under a protocol split."""
        return self.read("interactions", fitting.split_version(self.graph, wmf_run(self.run_id, protocol)))

    def contest(self, protocol: str, split: str) -> Contest:
        """Return what predictions of a split's tracks are judged by; see `outcomes.contest_of`."""
        return outcomes.contest_of(
            self.interactions(protocol),
            self.wmf_rows("splits", protocol),
            self.wmf_rows("user_factors", protocol),
            self.wmf_rows("track_factors", protocol),
            split,
            self.settings.compare,
            self.settings.evaluation.seed,
        )


def figures_of(source: Source, contest: Contest, trials: Sequence[Trial]) -> Figures:
    """Return the figures of the trials' networks and of the baselines: all trials have one protocol."""
    settings, protocol = source.settings, trials[0].protocol
    run_ids = {trial.name: train_run(source.run_id, trial) for trial in trials}
    predicted = source.read("predicted_factors")
    found = outcomes.predictions(predicted, list(run_ids.values()), contest.targets, "factors", settings.compare)
    judged: dict[str, list[Judged]] = {}
    for trial in trials:
        judged.setdefault(trial.variant.name, []).append(judge(contest, found[run_ids[trial.name]]))
    judged["chance"] = [by_chance(contest, seed) for seed in settings.compare.seeds]
    judged |= {name: [each] for name, each in _baselines(source, contest, protocol).items()}
    whole = next((trial for trial in trials if trial.variant is MODELS["fusion"]), None)
    if whole is not None:
        run_id = run_ids[whole.name]
        ridge = outcomes.predictions(predicted, [run_id], contest.targets, "ridge", settings.compare)
        judged["ridge"] = [judge(contest, ridge[run_id])]
    return compare(
        contest, judged, sorted(set(settings.evaluation.k)), settings.compare.replicates, settings.evaluation.seed
    )


def _baselines(source: Source, contest: Contest, protocol: str) -> dict[str, Judged]:
    splits = source.wmf_rows("splits", protocol)
    training = training_plays(source.interactions(protocol), splits, protocol)
    facts = track_facts(source.read("tracks"), training, splits)
    means = outcomes.artist_means(source.wmf_rows("track_factors", protocol), facts, source.settings.compare)
    return {
        "artist_mean": judge(contest, means),
        "true_factors": judge(contest, contest.targets),
    }


def epochs_of(source: Source, contest: Contest, trial: Trial, k: int) -> dict[str, list[float]]:
    """Return losses and recall@k on validation tracks of every epoch of a training that kept its epochs.

    Raises:
        DataCheckError: the training had no validation tracks.
    """
    run_id = train_run(source.run_id, trial)
    folder = folders.checkpoints(source.root, "train", run_id)
    last = checkpoints.read(checkpoints.last_uri(folder))
    losses = [figures.validation_loss for figures in last.history]
    if None in losses:
        raise DataCheckError(f"train run {run_id} had no validation tracks; expected evaluation.validation_tracks > 0")
    kept = {figures.epoch: storage.read_bytes(checkpoints.epoch_uri(folder, figures.epoch)) for figures in last.history}
    examples = source.read("examples", run_id=run_id, split="validation").select("track_idx", *FEATURE_COLUMNS)
    judged = outcomes.judged_epochs(examples, kept, contest, last.shape.row_bytes, source.settings.compare)
    return {
        "training": [figures.train_loss for figures in last.history],
        "validation": [float(loss) for loss in losses if loss is not None],
        "recall": [recall_at(judged[figures.epoch], contest.relevant, k) for figures in last.history],
    }
