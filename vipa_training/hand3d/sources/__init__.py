"""The nine sources of human videos, one file each; every reader gives the same ``Clip``."""
