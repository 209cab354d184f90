import logging
import time

import pytest

from etude.audio.watch import watched


def test_it_speaks_while_the_work_lasts_and_not_after(caplog):
    log = logging.getLogger("test of watched")
    with caplog.at_level(logging.INFO, logger=log.name):
        with watched(log, "files", lambda: 7, 9, every_s=0.02):
            deadline = time.monotonic() + 20
            while len(caplog.messages) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
        spoken = len(caplog.messages)
        time.sleep(0.1)
    assert spoken >= 2
    assert set(caplog.messages) == {"progress=files done=7 total=9"}
    assert len(caplog.messages) == spoken


def test_it_ends_with_the_error():
    with pytest.raises(ValueError, match="x"), watched(logging.getLogger("t"), "files", lambda: 0, 1):
        raise ValueError("x")
