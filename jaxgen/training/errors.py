"""What a user can mend; command lines print these as one message."""


class ConfigError(ValueError):
    """A config key or value that cannot work; the message names it and the fix."""


class CheckpointMismatch(ValueError):
    """A checkpoint is missing or holds another network than the config describes."""


class NotFinite(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the saved batch."""


class HostLost(RuntimeError):
    """Another process of the run has ended or cannot be reached; the message says how to go on."""
