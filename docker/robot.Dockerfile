# The robot PC: drivers, controller, supervisor, cameras, recorder, console. No torch, no MuJoCo, no GPU.
#
#   docker build -f docker/robot.Dockerfile -t vipa-robot .
#
# Humble, for its Python 3.10: librealsense 2.54.2, the last that knows the L515, has no wheel for Jazzy's Python 3.12.
FROM ros:humble-ros-base-jammy

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends \
        cmake g++ git libegl1 libgl1 libglib2.0-0 libusb-1.0-0 make python3-dev python3-venv \
        ros-humble-rmw-fastrtps-cpp \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/vipa
COPY pyproject.toml README.md LICENSE ./
COPY vipa_inference vipa_inference
COPY vipa_training vipa_training
COPY calibration calibration
COPY launch launch
COPY ros2_ws/src ros2_ws/src
COPY docker/entrypoint.sh docker/entrypoint.sh

ENV VIRTUAL_ENV=/opt/vipa/.venv
ENV PATH=$VIRTUAL_ENV/bin:$PATH
RUN python3 -m venv --system-site-packages "$VIRTUAL_ENV" \
    && pip install --no-cache-dir --editable '.[robot,record,console,serve,teleop,calibration]'

WORKDIR /opt/vipa/ros2_ws
# hadolint ignore=SC1091
RUN . /opt/ros/humble/setup.bash \
    && colcon build --symlink-install --packages-select vipa_msgs vipa --cmake-args -DBUILD_TESTING=OFF

WORKDIR /opt/vipa
ENTRYPOINT ["/opt/vipa/docker/entrypoint.sh"]
CMD ["ros2", "launch", "vipa", "bringup.launch.py", "lab:=/etc/vipa/lab.yaml", "policy:=remote"]
