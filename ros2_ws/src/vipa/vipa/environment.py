"""The environment of child processes that use ROS 2, so that ``vipa`` works from a shell in which nothing was sourced.

Two kinds of installation are known: ROS 2 from Python wheels in the virtual environment, and ROS 2 from apt under
/opt/ros. The wheels bring a start-up hook that restarts every Python process once with its library path; an environment
made here has that path and the hook's mark already, so nothing starts twice.
"""

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from vipa.errors import ConfigurationError

APT_ROOT = Path("/opt/ros")
APT_DISTRIBUTIONS = ("jazzy", "humble")
FAST_DDS_PROFILE = Path(__file__).resolve().parent / "data" / "fastdds_shm.xml"
WHEELS_MARK = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"  # of the package ros-wheels-bootstrapper


def workspace_folder() -> Path:
    """The colcon workspace that this package belongs to (its ``install`` folder holds the built messages).

    Raises:
        ConfigurationError: this copy of the package lies in no workspace.
    """
    for folder in Path(__file__).resolve().parents:
        if folder.name in ("src", "install") and (folder.parent / "src" / "vipa_msgs").is_dir():
            return folder.parent
    raise ConfigurationError(
        f"{__file__}: lies in no colcon workspace; install VIPA from its repository with: make setup"
    )


def repository_folder() -> Path:
    """The top of the repository."""
    return workspace_folder().parent


def has_ros_wheels() -> bool:
    """True where ROS 2 comes from Python wheels."""
    return importlib.util.find_spec("ros_wheels_bootstrapper") is not None


def apt_ros() -> Path | None:
    """The apt installation of ROS 2 to use: that of ``ROS_DISTRO``, else the newest that is known, else None."""
    wanted = os.environ.get("ROS_DISTRO")
    for name in (wanted, *APT_DISTRIBUTIONS) if wanted else APT_DISTRIBUTIONS:
        if (APT_ROOT / str(name) / "setup.sh").is_file():
            return APT_ROOT / str(name)
    return None


def ros_environment(workspace: Path | None = None) -> dict[str, str]:
    """A copy of this process's environment, completed for child processes that use ROS 2 and ``vipa_msgs``.

    What the user has set is kept: ``ROS_DOMAIN_ID``, an own Fast DDS profile, ``OMP_NUM_THREADS``, ``MUJOCO_GL``.

    Args:
        workspace: the colcon workspace; None: the one of this package.

    Raises:
        ConfigurationError: no ROS 2 is installed, or ``vipa_msgs`` has not been built.
    """
    install = (workspace or workspace_folder()) / "install"
    if not (install / "vipa_msgs").is_dir():
        raise ConfigurationError(f"{install}: vipa_msgs has not been built; run: make setup")
    environment = dict(os.environ)
    if has_ros_wheels():
        environment = _wheels_environment(environment, install)
    else:
        distribution = apt_ros()
        if distribution is None:
            raise ConfigurationError("no ROS 2 found, neither as wheels nor under /opt/ros; run: make setup")
        environment.update(_sourced(distribution / "setup.bash", install / "local_setup.bash"))
    environment["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
    # An empty value would switch every profile off.
    environment["FASTRTPS_DEFAULT_PROFILES_FILE"] = environment.get("FASTRTPS_DEFAULT_PROFILES_FILE") or str(
        FAST_DDS_PROFILE
    )
    # The loops are small; more threads than one would only take the cores from other nodes.
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("LP_NUM_THREADS", "0")  # of Mesa's software renderer, beside its caller
    environment.setdefault("MUJOCO_GL", "egl")
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _wheels_environment(environment: dict[str, str], install: Path) -> dict[str, str]:
    prefix = Path(sys.prefix)
    site = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages = sorted(p for p in install.iterdir() if (p / "share").is_dir())
    messages = install / "vipa_msgs"
    libraries = [messages / "lib", prefix / "lib", *sorted(site.glob("ros_*.libs"))]
    environment[WHEELS_MARK] = "1"
    environment["ROS_DISTRO"] = "jazzy"
    environment["AMENT_PREFIX_PATH"] = _join(
        [*packages, prefix], _without_apt(environment.get("AMENT_PREFIX_PATH", ""))
    )
    environment["LD_LIBRARY_PATH"] = _join(libraries, _without_apt(environment.get("LD_LIBRARY_PATH", "")))
    python = [messages / site.relative_to(prefix)]
    environment["PYTHONPATH"] = _join(python, _without_apt(environment.get("PYTHONPATH", "")))
    return environment


def _without_apt(path: str) -> str:
    """Search path without the entries of an apt ROS 2: wheels and apt packages must never meet in one process."""
    return os.pathsep.join(p for p in path.split(os.pathsep) if p and not p.startswith(f"{APT_ROOT}/"))


def _join(first: Iterable[Path], rest: str) -> str:
    entries = [str(p) for p in first] + [p for p in rest.split(os.pathsep) if p]
    return os.pathsep.join(dict.fromkeys(entries))


@functools.cache
def _sourced(*scripts: Path) -> dict[str, str]:
    """The environment of a bash that sourced ``scripts``."""
    command = 'set -e; for script in "$@"; do . "$script"; done >/dev/null; env -0'
    done = subprocess.run(["bash", "-c", command, "bash", *map(str, scripts)], capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ConfigurationError(f"cannot source {', '.join(map(str, scripts))}: {reason[0]}; run: make setup")
    pairs = (entry.partition("=") for entry in done.stdout.decode(errors="surrogateescape").split("\0") if entry)
    return {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD", "OLDPWD")}
