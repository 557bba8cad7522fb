"""Calibration of the cell: board, intrinsics, hand-eye, drift."""
