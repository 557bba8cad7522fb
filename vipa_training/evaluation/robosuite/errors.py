"""What goes wrong with an evaluation in simulation."""


class EvaluationError(Exception):
    """An evaluation that cannot begin or go on; the message says what is wrong, where, and what to do."""
