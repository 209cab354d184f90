"""The ways a job may end, one exception for each exit status of the job contract."""


class EtudeError(Exception):
    """A failure that a person can act on: one clear line, and the exit status the scheduler sees."""

    exit_code = 1


class SettingsError(EtudeError):
    """A setting or an argument is unknown, of the wrong type or out of range."""

    exit_code = 2


class InputMissingError(EtudeError):
    """An input is missing, or holds no rows that can be used."""

    exit_code = 3


class DataCheckError(EtudeError):
    """The data contradicts itself or a stated limit (counts that don't balance, NaN factors, mixed bases)."""

    exit_code = 4


class LeaseTakenError(EtudeError):
    """Another run has the lease of the same batch, stage or releases."""

    exit_code = 5
