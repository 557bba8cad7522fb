"""Hand3D: what human videos teach about space, as questions and motions (paper Sec. 3.2.1)."""
