"""What a user can mend; command lines print these as one message."""


class ConfigError(ValueError):
    """A config key or value that cannot work; the message names it and the fix."""


class CheckpointMismatch(ValueError):
    """A checkpoint is missing or holds another network than the config describes."""


class NotFinite(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the saved batch."""


class CheckpointNotSaved(OSError):
    """A checkpoint could not be written; the message says why and which one is kept."""


class Stopped(Exception):
    """Training was asked to stop and has saved its state.

    Attributes:
        exit_code: of the process: 0 after SIGTERM, which schedulers send; 130 after Ctrl-C.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class HostLost(RuntimeError):
    """Another process of the run has ended or cannot be reached; the message says how to go on."""
