from __future__ import annotations

import io
import logging
import time
from types import SimpleNamespace

from etude import logs


def test_where_nobody_watches_progress_is_a_line_at_first_and_every_half_minute(monkeypatch, caplog):
    clock = {"now": 100.0}
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    monkeypatch.setattr(logs.sys, "stderr", SimpleNamespace(isatty=lambda: False))
    log = logging.getLogger("a test of progress")
    with caplog.at_level(logging.INFO, log.name):
        for _ in logs.progress(range(8), "numbers", 8, log):
            clock["now"] += 12
    assert caplog.messages == [f"progress='numbers' done={done} total=8" for done in (1, 4, 7)]


def test_credentials_in_a_uri_do_not_reach_the_log(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(logs.sys, "stderr", written)
    log = logging.getLogger("etude")
    monkeypatch.setattr(log, "handlers", [])
    try:
        raise ValueError("s3a://key:secret@bucket/x: no")
    except ValueError as error:
        logs.job_logger().error("lake=%s", "s3a://key:secret@bucket/x", exc_info=error)
    assert "lake=s3a://***@bucket/x" in written.getvalue()
    assert "ValueError: s3a://***@bucket/x: no" in written.getvalue()
    assert "secret" not in written.getvalue()


def test_a_long_stage_says_that_it_runs_and_the_inner_one_alone(caplog):
    log = logging.getLogger("a test of ticking")
    with caplog.at_level(logging.INFO, log.name), logs.ticking(log, "pipeline", lambda: "never", every_s=0.01):
        with logs.ticking(log, "wmf", lambda: "stage=1 tasks=2/3", every_s=0.01):
            limit = time.monotonic() + 20
            while len(caplog.messages) < 3 and time.monotonic() < limit:
                time.sleep(0.01)
        inner = list(caplog.messages)
    assert len(inner) >= 3
    assert set(inner) == {"job=wmf running seconds=0 stage=1 tasks=2/3"}
