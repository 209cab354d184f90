"""Implement `etude <command>`: each command is a module of this package (see `etude.cli.main`)."""
