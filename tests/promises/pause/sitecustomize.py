"""Stop a job at a function of the library, which a test names in the environment, until the test kills it.

ETUDE_TEST_PAUSE is `module:function:file`: instead of calling the function, the process creates the file and sleeps.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from importlib.abc import MetaPathFinder
from pathlib import Path

_MODULE, _, _REST = os.environ.get("ETUDE_TEST_PAUSE", "").partition(":")
_FUNCTION, _, _FILE = _REST.partition(":")


def _pause(*_args: object, **_named: object) -> None:
    Path(_FILE).touch()
    time.sleep(600)
    os._exit(1)


class _Patcher(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_patch(module):
            load(module)
            assert callable(getattr(module, _FUNCTION)), f"{name} has no function {_FUNCTION}"
            setattr(module, _FUNCTION, _pause)

        spec.loader.exec_module = load_and_patch
        return spec


if _MODULE:
    sys.meta_path.insert(0, _Patcher())
