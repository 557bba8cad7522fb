"""Replay of recorded episodes: what the policy saw, into a policy; what the robot was told, onto a robot.

Nothing here imports ROS; the node ``vipa.nodes.replay`` plays actions.
"""
