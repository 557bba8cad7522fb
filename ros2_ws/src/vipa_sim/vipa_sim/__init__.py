"""The simulated laboratory: one world behind the real wire protocols."""
