"""The environment that Etude runs in: made by `make setup` (`python -m etude.environment`), examined by `etude doctor`.

Everything here uses the standard library only, since it runs before anything is installed.
"""
