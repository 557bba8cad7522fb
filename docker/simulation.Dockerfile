# Everything without a robot: the simulated laboratory and the whole graph, as `make setup` makes them.
#
#   docker build -f docker/simulation.Dockerfile -t vipa-simulation .
#   docker run --rm --cap-add SYS_NICE --shm-size 1g vipa-simulation make trial
FROM python:3.11-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends \
        ca-certificates cmake g++ git libegl1 libgl1 libglib2.0-0 libusb-1.0-0 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/vipa
COPY . .
ENV VIPA_BROWSER=no
RUN make setup

CMD ["make", "trial"]
