"""The errors that the stack raises for things that a person can mend."""


class VipaError(Exception):
    """Something a person can mend; the message says what happened, where, and what to do."""


class ConfigurationError(VipaError):
    """A YAML file or an argument that cannot be used; the message names the key."""


class HardwareError(VipaError):
    """A device that cannot be reached, or that refused what it was asked."""
