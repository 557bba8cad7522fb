"""What the benchmarks compute, without ROS."""
