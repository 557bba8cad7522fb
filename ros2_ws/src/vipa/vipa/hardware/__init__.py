"""Drivers of the real devices: arm, hand, cameras. None of them knows ROS."""
