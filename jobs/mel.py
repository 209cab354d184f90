"""Compute mel spectrograms of audio files: a row of `mel` per track and crop, a row of `rejects` per refused crop.

The files come from audio.manifest, else from audio.root, else from audio_uri of `tracks`; no log is needed. An alias's
file is one of its track. A track has one file; others are rejected as duplicate. Only new or changed files are
computed: a file is unchanged if its path, size, modification time and the mel settings are. A file refused for its
content (undecodable, too_short, silent, non_finite, too_large, out_of_memory) is tried again if the file or the
settings change. A file refused for another reason is tried again in every run. A file has mel.crops crops; crops in =
computed + unchanged + rejected.
"""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame

from etude.audio import plan
from etude.audio.compute import FILES_A_TASK, compute, mel_rows
from etude.audio.sources import audio_source
from etude.audio.watch import watched
from etude.errors import DataCheckError, InputMissingError
from etude.job import JobRun, main
from etude.tracks import without_aliases


def run(job: JobRun) -> None:
    """Find the files, compute the crops that are new or changed, then write mel rows and rejects."""
    mel = job.settings.mel
    source = audio_source(job.spark, job.settings.audio, lambda: without_aliases(job.read("tracks")))
    rejects = job.read("rejects", job="mel", source=source.name)
    known = job.read("mel", settings_sha256=mel.settings_sha256)
    files = plan.of_tracks(source.files, job.read("tracks"))
    crops = plan.fates(plan.crops_of(files, mel.crops, known), known, rejects, mel.attempt_sha256).persist()
    fates = counts(crops, "fate")
    if not fates:
        raise InputMissingError(f"{source.name} lists no audio file; expected at least one")

    asked = plan.asked_files(crops).persist()
    n_files = asked.count()
    done = job.spark.sparkContext.accumulator(0)
    # Computed once and read twice, for mel and for rejects; what memory can't hold goes to the executors' disks.
    results = compute(asked, n_files, mel, done).persist(StorageLevel.MEMORY_AND_DISK)
    with watched(job.log, "files", lambda: done.value, n_files):
        outcomes = counts(results, "reason")

    if plan.CHANGED in fates:
        outdated = plan.outdated(crops, results, known, mel)
        if not outdated.isEmpty():
            job.delete("mel", outdated)
    if outcomes.get(None) or not job.lake.exists("mel"):
        # A file of the table for each so many files of sound, not for each task: a night has few of them.
        job.merge("mel", mel_rows(results, mel).coalesce(max(1, n_files // FILES_A_TASK)))
    if outcomes.keys() - {None} or plan.REFUSED in fates or fates.get(plan.REMEMBERED, 0) < rejects.count():
        job.replace(
            "rejects", plan.all_rejects(crops, results, rejects, source.name, mel, job.batch_date), source=source.name
        )
    check(job, source.name, fates, outcomes)


def check(job: JobRun, source: str, fates: dict[str | None, int], outcomes: dict[str | None, int]) -> None:
    """Check that every crop was computed, unchanged or rejected, and that some can be used.

    Raises:
        DataCheckError: the counts don't balance.
        InputMissingError: every crop was refused.
    """
    reasons = counts(job.written("rejects", job="mel", source=source), "reason")
    found, computed, unchanged = sum(fates.values()), outcomes.get(None, 0), fates.get(plan.UNCHANGED, 0)
    rejected = sum(reasons.values())
    job.count("crops_in", found)
    job.count("crops_computed", computed)
    job.count("crops_unchanged", unchanged)
    job.count("crops_rejected", rejected)
    job.note("rejected", dict(sorted(reasons.items())))
    if found != computed + unchanged + rejected:
        raise DataCheckError(
            f"{found} crops in, but {computed} computed, {unchanged} unchanged, {rejected} rejected; expected the sum"
        )
    if not computed + unchanged:
        raise InputMissingError(f"{source}: none of {found} crops can be used; they were rejected as {reasons}")


def counts(rows: DataFrame, column: str) -> dict[str | None, int]:
    """Return value -> number of rows, of a column with few values."""
    return {row[0]: row[1] for row in rows.groupBy(column).count().collect()}


if __name__ == "__main__":
    main("mel", run, __doc__)
