"""Datasets of demonstrations in the format LeRobotDataset v3.0: write, read, check, merge, show. Needs no torch."""
