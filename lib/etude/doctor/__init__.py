"""Check the environment that `make setup` makes, for `etude doctor`.

All modules except `live` use the standard library only: the set-up (tools/setup) imports them before any package is
installed.
"""
