"""Define one exception for each exit status of the job contract."""


class EtudeError(Exception):
    """Signal a failure that a person can act on: one clear line, and the exit status that the scheduler gets."""

    exit_code = 1


class SettingsError(EtudeError):
    """Signal a setting or an argument that is unknown, of the wrong type or out of range."""

    exit_code = 2


class InputMissingError(EtudeError):
    """Signal an input that is missing or has no usable rows."""

    exit_code = 3


class DataCheckError(EtudeError):
    """Signal data that contradicts itself or a stated limit (counts that don't balance, NaN factors, mixed bases)."""

    exit_code = 4


class LeaseTakenError(EtudeError):
    """Signal that another run has the lease of the same batch, stage or releases."""

    exit_code = 5
