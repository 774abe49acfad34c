"""What a user can get wrong, each with its remedy.

Every message is one or two lines: what was found, what was expected, and the key or command that mends it.
The command line prints them without a stack trace.
"""


class PulmoError(Exception):
    """A mistake that the user can mend; the message says how."""


class ConfigError(PulmoError):
    """The configuration asks for something that does not exist, or does not fit together."""


class DataError(PulmoError):
    """A data-set folder lacks something, or holds something that contradicts itself."""


class UnreadableImageError(DataError):
    """A file could not be turned into a grey image; `path` names it and `cause` says why."""

    def __init__(self, path: str, cause: str = "") -> None:
        super().__init__(path, cause)  # both as args, so that the error crosses process borders by pickle
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        # A worker of torch's DataLoader rebuilds the error from one text, its trace.
        return f"{self.path}: {self.cause}" if self.cause else self.path


class TrainingError(PulmoError):
    """Training went wrong in a way that would leave a useless checkpoint."""


class RunError(PulmoError):
    """A run's folder lacks what is asked of it, or is none."""


class SweepError(PulmoError):
    """Some jobs of a sweep failed; each one's cause is in its folder."""


class WeightsError(PulmoError):
    """Weights could not be had, or are of another network."""


class MissingExtraError(PulmoError):
    """An optional part is not installed; the message gives the pip command."""
