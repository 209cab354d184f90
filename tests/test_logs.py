from __future__ import annotations

import logging
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
