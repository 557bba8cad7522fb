"""What goes wrong with datasets."""


class DatasetError(Exception):
    """A dataset that cannot be read or written; the message says what is wrong, where, and what to do."""
