"""The ROS 2 nodes: one node, one file, one main(); their logic lives in the ROS-free packages beside this one."""
