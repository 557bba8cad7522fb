"""The error that the simulated laboratory raises for things that a person can mend."""


class SimulationError(Exception):
    """The simulated laboratory cannot do what it was asked; the message says what happened, where, and what to do."""
