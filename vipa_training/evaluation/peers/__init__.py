"""Peers on the same data: LeRobot's ACT and SmolVLA, trained and served in LeRobot's own environment (see README)."""
