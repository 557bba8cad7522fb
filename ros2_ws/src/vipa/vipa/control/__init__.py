"""From action chunks to joint trajectories: kinematics, safety gate, chunk scheduler, controller; ROS-free."""
