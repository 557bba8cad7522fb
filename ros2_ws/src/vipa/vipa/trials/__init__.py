"""Trials: who judges them, how one runs, what is kept of it, and what many of them say."""
