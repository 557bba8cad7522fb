#!/usr/bin/env bash
# Sets VIPA up: system packages, Python, the versions of the lock files, the ROS 2 workspace, the command `vipa`.
# `make setup` calls it. It does only what has changed since the last time.
#
#   VIPA_PYTHON=/path/to/python3.11   the interpreter to use
#   VIPA_ROS=wheels                   use the ROS 2 wheels although an apt ROS 2 is installed
#   VIPA_NVIDIA=no                    leave out TensorRT-RTX, which comes under a licence of NVIDIA
#   VIPA_BROWSER=no                   leave out Chromium (350 MB), which the tests of the console's page need
set -euo pipefail

cd "$(dirname "$0")/.."
TOP=$PWD
VENV=$TOP/.venv
STAMPS=$VENV/.vipa-setup
LOG=$TOP/logs/setup.log
LIBRARIES=(libEGL.so.1 libGL.so.1 libglib-2.0.so.0)
PROGRAMS=(cmake g++ make git)
APT_PACKAGES=(cmake g++ make git libegl1 libgl1 libusb-1.0-0 libglib2.0-0 ca-certificates)

fail() {
    echo "setup: $*" >&2
    exit 1
}

# step DESCRIPTION COMMAND...: quiet on the terminal; everything goes to the log.
step() {
    local description=$1 begin=$SECONDS
    shift
    printf '  %-44s' "$description"
    echo "--- $description" >>"$LOG"
    if "$@" >>"$LOG" 2>&1 </dev/null; then
        echo "ok   $((SECONDS - begin)) s"
    else
        echo "failed"
        fail "$description: $(grep -vE '^\s*$' "$LOG" | tail -n 1 | sed -E 's#[a-z]+://[^ ]*#<address>#g') (see logs/setup.log)"
    fi
}

# finish PROCESS FILE: wait for a process in the background that writes to FILE; its status.
finish() {
    local status=0
    wait "$1" || status=$?
    cat "$2" && rm "$2"
    return $status
}

# ------------------------------------------------------------------------------------------------ what is here
apt_ros() {
    [ "${VIPA_ROS:-}" = wheels ] && return
    local name
    for name in ${ROS_DISTRO:-} jazzy humble; do
        if [ -f "/opt/ros/$name/setup.sh" ]; then
            echo "$name"
            return
        fi
    done
}

checksum() { cat "$@" | sha256sum | cut -d' ' -f1; }

is_done() { [ -f "$STAMPS/$1" ] && [ "$(cat "$STAMPS/$1")" = "$2" ]; }

mark_done() {
    mkdir -p "$STAMPS"
    echo "$2" >"$STAMPS/$1"
}

files_below() { find "$@" -type f ! -name '*.pyc' | LC_ALL=C sort; }

ROS=$(apt_ros)
KIND=${ROS:-wheels}
# The environment and the build folders hold absolute paths, so a repository that was moved is set up anew.
ENVIRONMENT_KEY="$KIND $TOP"
PACKAGES_KEY="$ENVIRONMENT_KEY $(checksum requirements.lock requirements-no-deps.lock)${VIPA_NVIDIA:+ $VIPA_NVIDIA}"
mapfile -t MESSAGE_FILES < <(files_below ros2_ws/src/vipa_msgs)
MESSAGES_KEY="$PACKAGES_KEY $(checksum "${MESSAGE_FILES[@]}")"
mapfile -t PROJECT_FILES < <(files_below launch && ls pyproject.toml ros2_ws/src/vipa{,_sim}/{package.xml,setup.py,setup.cfg})
PROJECT_KEY="$MESSAGES_KEY $(checksum "${PROJECT_FILES[@]}") $(ls launch)"

if is_done environment "$ENVIRONMENT_KEY" && is_done packages "$PACKAGES_KEY" && is_done messages "$MESSAGES_KEY" && is_done project "$PROJECT_KEY" &&
    "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

# --------------------------------------------------------------------------------------------- system packages
have_library() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep "$1" >/dev/null; }

is_system_complete() {
    local name
    for name in "${PROGRAMS[@]}"; do command -v "$name" >/dev/null || return 1; done
    for name in "${LIBRARIES[@]}"; do have_library "$name" || return 1; done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
        { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }
}

install_system() {
    is_system_complete && return
    may_install || fail "missing system packages; as root run: apt-get install ${APT_PACKAGES[*]}"
    step "system packages" apt_install "${APT_PACKAGES[@]}"
}

# Only tests need it, and they say so where it is missing: whatever goes wrong here does not stop the set-up.
install_browser() {
    if [ "${VIPA_BROWSER:-}" = no ] || command -v chromium >/dev/null || ! may_install; then return; fi
    printf '  %-44s' "Chromium for the tests of the console"
    echo "--- Chromium" >>"$LOG"
    if apt_install chromium >>"$LOG" 2>&1 </dev/null; then echo ok; else echo "left out (see logs/setup.log)"; fi
}

# ------------------------------------------------------------------------------------------------------ Python
# A final release of 3.11 that can make virtual environments and has the headers that the message build needs.
is_usable() {
    "$1" - 2>/dev/null <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.version_info[:2] == (3, 11) and sys.version_info.releaselevel == "final" and os.path.exists(header)))
PYTHON
}

uv_python() {
    python3 -m venv --clear "$TOP/.venv-uv" && "$TOP/.venv-uv/bin/pip" install -q uv &&
        "$TOP/.venv-uv/bin/uv" python install 3.11
}

find_python() {
    PYTHON=
    if [ -n "${VIPA_PYTHON:-}" ]; then
        is_usable "$VIPA_PYTHON" || fail "VIPA_PYTHON=$VIPA_PYTHON is no Python 3.11 with venv and its header files"
        PYTHON=$VIPA_PYTHON
        return
    fi
    local advice="no Python 3.11 with venv and its header files found; install it and set VIPA_PYTHON=/path/to/python3.11"
    if is_usable python3.11; then PYTHON=python3.11 && return; fi
    if may_install && apt-cache show python3.11-dev >/dev/null 2>&1; then
        step "Python 3.11 (apt)" apt_install python3.11 python3.11-venv python3.11-dev
        if is_usable python3.11; then PYTHON=python3.11 && return; fi
    fi
    if may_install && ! python3 -c 'import ensurepip' 2>/dev/null; then
        step "Python" apt_install python3 python3-venv
    fi
    python3 -c 'import ensurepip' 2>/dev/null || fail "$advice"
    step "Python 3.11 (uv)" uv_python
    PYTHON=$("$TOP/.venv-uv/bin/uv" python find 3.11) || fail "$advice"
    is_usable "$PYTHON" || fail "$advice"
}

make_environment() {
    is_done environment "$ENVIRONMENT_KEY" && "$VENV/bin/python" -c '' 2>/dev/null && return
    rm -rf ros2_ws/build ros2_ws/install ros2_ws/log
    if [ -f "$STAMPS/environment" ]; then rm -rf "$VENV"; fi
    if [ -n "$ROS" ]; then
        # rclpy of an apt ROS 2 belongs to the system's own Python.
        if ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null && may_install; then
            step "Python (apt)" apt_install python3-venv python3-dev
        fi
        step "virtual environment" /usr/bin/python3 -m venv --clear --system-site-packages "$VENV"
    elif ! { [ -x "$VENV/bin/python" ] && is_usable "$VENV/bin/python"; }; then
        find_python
        step "virtual environment" "$PYTHON" -m venv --clear "$VENV"
    fi
    mark_done environment "$ENVIRONMENT_KEY"
}

# ---------------------------------------------------------------------------------------------------- packages
pip() { env -u PYTHONPATH "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

# The lock without what an apt ROS 2 brings itself: the wheels, the message generators' parsers, and colcon if it is there.
requirements_beside_apt() {
    local brought='^(ros-|empy==|lark-parser==|catkin-pkg==|docutils==|pyparsing==|python-dateutil=='
    if /usr/bin/python3 -c 'import colcon_core' 2>/dev/null; then brought+='|colcon-'; fi
    grep -vE "$brought)" requirements.lock
}

requirements_without_dependencies() {
    if [ "${VIPA_NVIDIA:-}" = no ]; then grep -v '^tensorrt-' requirements-no-deps.lock; else cat requirements-no-deps.lock; fi
}

# Compiling every file of torch and transformers takes longer than downloading them, and most are never imported; what
# the nodes import at every start is compiled here, the rest when it is first used.
COMPILED=(cv2 mujoco numpy pymodbus rclpy transforms3d yaml '*_msgs')
compile_packages() (
    shopt -s nullglob
    local folders=() name
    # shellcheck disable=SC2206
    for name in "${COMPILED[@]}"; do folders+=("$VENV"/lib/python3.*/site-packages/$name); done
    [ ${#folders[@]} = 0 ] || "$VENV/bin/python" -m compileall -q -j 0 "${folders[@]}"
)

# `step` asks for the status, so that bash does not end these functions at the first error: hence the &&.
install_packages() {
    install_with_dependencies && requirements_without_dependencies >"$VENV/requirements-no-deps.txt" &&
        pip install -q --no-compile --no-deps -r "$VENV/requirements-no-deps.txt" && compile_packages
}

# The last two sections of the lock: all that the message package is built from.
install_ros_wheels() {
    sed -n '/^# --- Build tools of the ROS 2 workspace/,$p' requirements.lock >"$VENV/requirements-ros.txt" &&
        pip install -q --no-compile -r "$VENV/requirements-ros.txt" -c requirements.lock && patch_wheels
}

install_with_dependencies() {
    if [ -z "$ROS" ]; then
        pip install -q --no-compile -r requirements.lock
    elif "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        requirements_beside_apt >"$VENV/requirements.txt" && pip install -q --no-compile -r "$VENV/requirements.txt"
    else
        # The simulated laboratory and the model need Python 3.11; the drivers and the controller do not.
        pip install -q 'setuptools<80' '.[robot,record,data,serve,calibration,dev]' && pip uninstall -q -y vipa
    fi
}

# The wheels' CMake files name the include folders of the machine that built them.
patch_wheels() {
    local include numpy
    include=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))') &&
        numpy=$("$VENV/bin/python" -c 'import numpy; print(numpy.get_include())') || return
    find "$VENV/share" -name '*.cmake' -print0 | xargs -0 sed -i -E \
        -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$include#g" \
        -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/(_core|core)/include#$numpy#g"
}

# --------------------------------------------------------------------------------------------------- workspace
colcon_build() (
    if [ -n "$ROS" ]; then
        set +u
        # shellcheck disable=SC1090
        source "/opt/ros/$ROS/setup.bash"
        set -u
    else
        export AMENT_PREFIX_PATH=$VENV
        unset ROS_DISTRO CMAKE_PREFIX_PATH PYTHONPATH COLCON_PREFIX_PATH
    fi
    cd ros2_ws
    # The scripts of the Python nodes start the interpreter that runs colcon, and CMake finds that of VIRTUAL_ENV.
    export VIRTUAL_ENV=$VENV PATH=$VENV/bin:$PATH
    # colcon would let make wait while the machine is busy, as it is while packages are unpacked.
    export MAKEFLAGS=-j$(nproc)
    python -m colcon build --symlink-install --packages-select "$@" --cmake-args -DBUILD_TESTING=OFF
)

install_project() {
    pip install -q -e . --no-deps --no-build-isolation && colcon_build vipa vipa_sim
}

# ------------------------------------------------------------------------------------------------------ do it
mkdir -p "$(dirname "$LOG")"
date '+=== %F %T' >>"$LOG"
echo "Setting up VIPA with ROS 2 from ${ROS:+/opt/ros/}$KIND (details: logs/setup.log)"
install_system
install_browser
make_environment
if ! is_done packages "$PACKAGES_KEY"; then
    if [ -z "$ROS" ]; then
        # One core compiles the messages while the other unpacks wheels.
        step "ROS 2 wheels of the lock file" install_ros_wheels
        install_packages >"$LOG.packages" 2>&1 </dev/null &
        trap 'kill $! 2>/dev/null' EXIT
        if ! is_done messages "$MESSAGES_KEY"; then
            step "message package vipa_msgs" colcon_build vipa_msgs
            mark_done messages "$MESSAGES_KEY"
        fi
        step "other packages of the lock file" finish $! "$LOG.packages"
        trap - EXIT
    else
        step "Python packages of the lock files" install_packages
    fi
    mark_done packages "$PACKAGES_KEY"
fi
if ! is_done messages "$MESSAGES_KEY"; then
    step "message package vipa_msgs" colcon_build vipa_msgs
    mark_done messages "$MESSAGES_KEY"
fi
if ! is_done project "$PROJECT_KEY"; then
    step "packages vipa, vipa_sim" install_project
    mark_done project "$PROJECT_KEY"
fi
