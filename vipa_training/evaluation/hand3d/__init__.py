"""Hand3D-test: what a pretrained model says about space, and how it moves a hand (paper Sec. 4.4)."""
