"""What goes wrong with trainings."""


class TrainingError(Exception):
    """A training that cannot begin or go on; the message says what is wrong, where, and what to do."""
