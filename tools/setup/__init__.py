"""Make the environment that Etude runs in: `make setup` runs `python -m tools.setup`.

These modules use the standard library and `etude.doctor` without its `live` module, since they run before any package
is installed. The exception is `truststore`, which runs in the environment.
"""
