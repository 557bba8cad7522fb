"""VIPA: the robot stack that runs VIPA-VLA on a Franka Research 3 with an Inspire hand and two RealSense L515."""
