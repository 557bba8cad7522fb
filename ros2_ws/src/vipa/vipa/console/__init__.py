"""The operator console without ROS: what its web page is told, what it may ask for, and the server between them."""
