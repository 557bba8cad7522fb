"""Is everything installed, and in the versions that were tested together?"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from vipa.doctor.check import Check, failed, passed, warned
from vipa.environment import apt_ros, has_ros_wheels, repository_folder, ros_environment, workspace_folder
from vipa.errors import ConfigurationError

SET_UP = "run: make setup"
BROUGHT_BY_APT = ("ros-", "colcon-", "empy", "lark-parser", "catkin-pkg")


def examine() -> list[Check]:
    """All checks of the software."""
    return [check_python(sys.version_info[:2]), check_ros(), check_packages(), check_messages(), check_profile()]


def check_python(version: tuple[int, int]) -> Check:
    """Python 3.10 to 3.12."""
    finding = f"Python {platform.python_version()}"
    if not (3, 10) <= version <= (3, 12):
        return failed("Python", f"{finding}; 3.10 to 3.12 are supported", "install Python 3.11, then run: make setup")
    if version == (3, 10):
        return warned("Python", f"{finding}: no simulated laboratory", "use Python 3.11 where it is needed")
    if version == (3, 12):
        return warned("Python", f"{finding}: pyrealsense2 has no wheel for the L515", "use Python 3.11 for the cameras")
    return passed("Python", finding)


def check_ros() -> Check:
    """ROS 2 from wheels or from apt, not both at once."""
    sourced = os.environ.get("AMENT_PREFIX_PATH", "")
    if has_ros_wheels():
        if "/opt/ros/" in sourced:
            return warned("ROS 2", "wheels, and /opt/ros is sourced in this shell", "open a shell without it")
        return passed("ROS 2", "Jazzy, from wheels")
    found = apt_ros()
    if found is None:
        return failed("ROS 2", "neither wheels nor /opt/ros/jazzy or humble", SET_UP)
    return passed("ROS 2", f"{found.name.capitalize()}, from {found}")


def check_packages() -> Check:
    """Installed versions against requirements.lock."""
    try:
        lock = repository_folder() / "requirements.lock"
        wanted = read_lock(lock.read_text(encoding="utf-8"))
    except (ConfigurationError, OSError) as error:
        return warned("packages", f"cannot compare versions: {error}", SET_UP)
    if not has_ros_wheels():
        wanted = {name: v for name, v in wanted.items() if not name.startswith(BROUGHT_BY_APT)}
    wrong = differences(wanted)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return failed("packages", f"{'; '.join(wrong[:3])}{more}", SET_UP)
    return passed("packages", f"{len(wanted)} in the versions of requirements.lock")


def read_lock(text: str) -> dict[str, str]:
    """Name to version of the lines "name==version" that apply to this interpreter.

    Raises:
        ConfigurationError: a line is no such requirement.
    """
    wanted: dict[str, str] = {}
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        if not content:
            continue
        try:
            requirement = Requirement(content)
        except InvalidRequirement as error:
            raise ConfigurationError(f"requirements.lock: {content!r}: {error}") from None
        versions = [s.version for s in requirement.specifier if s.operator == "=="]
        if len(versions) != 1:
            raise ConfigurationError(f"requirements.lock: {content!r} names no single version")
        if requirement.marker is None or requirement.marker.evaluate():
            wanted[requirement.name] = versions[0]
    return wanted


def differences(wanted: Mapping[str, str]) -> list[str]:
    """One phrase per package that is missing or has another version; what follows "+" in a version does not count."""
    found: list[str] = []
    for name, version in wanted.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} {version} is missing")
            continue
        if Version(installed).public != version:
            found.append(f"{name} is {installed}, wanted {version}")
    return found


def check_messages() -> Check:
    """vipa_msgs is built, and a process with our environment can use it together with rclpy."""
    try:
        environment = ros_environment()
    except ConfigurationError as error:
        return failed("vipa_msgs", str(error).partition("; run:")[0], SET_UP)
    code = (
        "from rclpy.type_support import check_for_type_support as check; from vipa_msgs.msg import ActionChunk; "
        "check(ActionChunk)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return failed("vipa_msgs", f"cannot be used: {reason}", "run: make clean setup")
    return passed("vipa_msgs", f"built in {workspace_folder() / 'install'}")


def check_profile() -> Check:
    """The Fast DDS profile that the nodes will use exists and can be parsed."""
    try:
        path = Path(ros_environment()["FASTRTPS_DEFAULT_PROFILES_FILE"])
        ElementTree.parse(path)
    except ConfigurationError as error:
        return failed("Fast DDS profile", str(error).partition("; run:")[0], SET_UP)
    except (OSError, ElementTree.ParseError) as error:
        return failed("Fast DDS profile", f"cannot be read: {error}", "unset FASTRTPS_DEFAULT_PROFILES_FILE")
    return passed("Fast DDS profile", str(path))
