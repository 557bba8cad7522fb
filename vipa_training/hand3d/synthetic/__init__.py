"""Hands at a simulated table: videos whose geometry is known exactly, as many as one wants."""
