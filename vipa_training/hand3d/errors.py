"""What goes wrong while human videos become Hand3D."""


class Hand3DError(Exception):
    """Nothing can go on: a licensed file or a folder is missing; the message says what to do."""


class Rejection(Exception):  # noqa: N818  (it is an answer about a clip, and the run goes on)
    """A clip, or a part of one, that is not used; the message is the reason that is reported."""
