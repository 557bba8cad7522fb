"""Teleoperation without ROS: devices give commands, a session turns them into the action chunks of the policies."""
