# The GPU workstation: the policy server with torch (CUDA) and TensorRT. No ROS.
#
#   docker build -f docker/inference.Dockerfile -t vipa-inference .
#   docker run --gpus all -v /models:/models:ro -e VIPA_POLICY_TOKEN --network host vipa-inference \
#     serve --host 192.168.1.20 --policy vipa --policy-option checkpoint=/models/nano
#
# TensorRT comes under NVIDIA's licence, which you accept by building this image.
FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends libgl1 libglib2.0-0t64 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/vipa
COPY pyproject.toml README.md LICENSE ./
COPY vipa_inference vipa_inference
COPY vipa_training vipa_training
COPY calibration calibration
COPY ros2_ws/src ros2_ws/src

ENV VIRTUAL_ENV=/opt/vipa/.venv
ENV PATH=$VIRTUAL_ENV/bin:$PATH
RUN python3 -m venv "$VIRTUAL_ENV" \
    && pip install --no-cache-dir --editable '.[serve,train,tensorrt]' \
    && useradd --create-home --uid 1001 vipa

USER 1001
EXPOSE 8000
ENTRYPOINT ["vipa"]
