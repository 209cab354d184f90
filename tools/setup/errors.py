"""Define the error that ends a set-up."""


class SetupError(Exception):
    """Report why the set-up can't continue; the message says what to do."""
