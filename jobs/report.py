"""Write one self-contained HTML page for people.

It shows rows in and rejects, the loss of the factors, mel spectrograms, training curves, ranking metrics with baselines
and bound, sample recommendations, timings, and the runs behind all of it.

It reads the evaluated run report.evaluation_run_id (else the newest that succeeded under strict or paper) and the
served run (or report.production_run_id). The page names what is missing. It is written to report.path.
"""

from __future__ import annotations

from etude import storage
from etude.job import JobRun, main
from etude.lake import folders
from etude.lake.runs import utc_now
from etude.report.gather import gather
from etude.report.page import render


def run(job: JobRun) -> None:
    """Gather the facts, render the page, write it."""
    settings = job.settings.report
    facts = gather(job, job.lake, settings, utc_now())
    path = folders.report(job.lake.root, job.run_id, settings.path)
    page = render(facts).encode("utf-8")
    storage.write_bytes(path, page)
    job.note("report", storage.to_uri(path))
    for kind, chain in (("evaluation", facts.evaluation), ("production", facts.production)):
        if chain:
            job.note(f"{kind}_run_id", list(chain.values())[-1].run_id)
    job.count("bytes", len(page))
    job.log.info("report=%s bytes=%d", storage.to_uri(path), len(page))


if __name__ == "__main__":
    main("report", run, __doc__)
