#!/usr/bin/env bash
# Runs a command with ROS 2, the workspace and the virtual environment.
set -eo pipefail
# shellcheck disable=SC1091
source /opt/ros/humble/setup.bash
# shellcheck disable=SC1091
source /opt/vipa/ros2_ws/install/local_setup.bash
exec "$@"
