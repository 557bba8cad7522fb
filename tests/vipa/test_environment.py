"""The environment of processes that use ROS 2."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vipa import environment
from vipa.environment import FAST_DDS_PROFILE, WHEELS_MARK, has_ros_wheels, ros_environment, workspace_folder
from vipa.errors import ConfigurationError

ADDED = ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "RMW_IMPLEMENTATION", "FASTRTPS_DEFAULT_PROFILES_FILE")


def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ADDED, WHEELS_MARK, "ROS_DISTRO", "OMP_NUM_THREADS", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)


def make_workspace(folder: Path) -> Path:
    for package in ("vipa", "vipa_msgs"):
        (folder / "install" / package / "share").mkdir(parents=True)
    return folder


@pytest.mark.ros
def test_rclpy_and_the_messages_work_from_a_shell_in_which_nothing_was_sourced(monkeypatch: pytest.MonkeyPatch) -> None:
    bare_environment(monkeypatch)
    code = (
        "import rclpy\n"
        "from rclpy.type_support import check_for_type_support\n"
        "from vipa_msgs.msg import ActionChunk\n"
        "check_for_type_support(ActionChunk)\n"
        "rclpy.init(); node = rclpy.create_node('probe'); node.create_publisher(ActionChunk, '/probe', 1)\n"
        "node.destroy_node(); rclpy.shutdown(); print('works')\n"
    )
    values = {**ros_environment(), "ROS_DOMAIN_ID": "201"}
    done = subprocess.run([sys.executable, "-c", code], env=values, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "works", done.stderr


@pytest.mark.skipif(not has_ros_wheels(), reason="ROS 2 comes from apt here")
def test_a_process_of_the_wheels_starts_only_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wheels' hook would restart the interpreter: the mark is set, so it must find its libraries without."""
    bare_environment(monkeypatch)
    values = ros_environment()
    assert values[WHEELS_MARK] == "1"
    prefix = Path(sys.prefix)
    libraries = values["LD_LIBRARY_PATH"].split(os.pathsep)
    assert libraries[0] == str(workspace_folder() / "install" / "vipa_msgs" / "lib")
    assert str(prefix / "lib") in libraries
    assert {str(p) for p in prefix.glob("lib/python3.*/site-packages/ros_*.libs")} <= set(libraries)
    assert values["AMENT_PREFIX_PATH"].split(os.pathsep)[-1] == str(prefix)


@pytest.mark.skipif(not has_ros_wheels(), reason="ROS 2 comes from apt here")
def test_wheels_never_meet_an_apt_ros(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare_environment(monkeypatch)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/ros/jazzy/lib:/usr/local/cuda/lib64")
    monkeypatch.setenv("PYTHONPATH", "/opt/ros/jazzy/lib/python3.12/site-packages:/my/tools")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy:/my/workspace")
    monkeypatch.setenv("ROS_DISTRO", "humble")
    values = ros_environment(make_workspace(tmp_path))
    assert not any("/opt/ros" in values[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH", "AMENT_PREFIX_PATH"))
    assert values["LD_LIBRARY_PATH"].endswith(":/usr/local/cuda/lib64")
    assert values["PYTHONPATH"].endswith(":/my/tools")
    assert values["AMENT_PREFIX_PATH"].endswith(":/my/workspace")
    assert values["ROS_DISTRO"] == "jazzy"


def make_apt_ros(folder: Path, monkeypatch: pytest.MonkeyPatch, setup: str) -> Path:
    """An installation under a folder that stands for /opt/ros, and a workspace."""
    jazzy = folder / "ros" / "jazzy"
    jazzy.mkdir(parents=True)
    (jazzy / "setup.sh").touch()
    (jazzy / "setup.bash").write_text(setup)
    workspace = make_workspace(folder / "workspace")
    (workspace / "install" / "local_setup.bash").write_text('export PYTHONPATH="/from/workspace:$PYTHONPATH"\n')
    monkeypatch.setattr(environment, "APT_ROOT", folder / "ros")
    monkeypatch.setattr(environment, "has_ros_wheels", lambda: False)
    environment._sourced.cache_clear()  # pyright: ignore[reportPrivateUsage]
    return workspace


def test_an_apt_ros_is_sourced_before_the_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare_environment(monkeypatch)
    setup = "export ROS_DISTRO=jazzy PYTHONPATH=/from/ros TEXT='two\nlines'; echo noise\n"
    values = ros_environment(make_apt_ros(tmp_path, monkeypatch, setup))
    assert values["PYTHONPATH"] == "/from/workspace:/from/ros"
    assert (values["ROS_DISTRO"], values["TEXT"]) == ("jazzy", "two\nlines")
    assert values["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert WHEELS_MARK not in values


def test_an_apt_ros_that_cannot_be_sourced_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workspace = make_apt_ros(tmp_path, monkeypatch, "echo broken >&2; return 3\n")
    with pytest.raises(ConfigurationError, match=r"cannot source .*jazzy/setup.bash.*: broken; run: make setup"):
        ros_environment(workspace)


@pytest.mark.parametrize(("wanted", "found"), [("humble", "humble"), ("rolling", "jazzy"), (None, "jazzy")])
def test_which_apt_ros(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str | None, found: str) -> None:
    for name in ("humble", "jazzy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "setup.sh").touch()
    monkeypatch.setattr(environment, "APT_ROOT", tmp_path)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    if wanted:
        monkeypatch.setenv("ROS_DISTRO", wanted)
    assert environment.apt_ros() == tmp_path / found


def test_without_any_ros_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "APT_ROOT", tmp_path / "nothing")
    monkeypatch.setattr(environment, "has_ros_wheels", lambda: False)
    with pytest.raises(ConfigurationError, match=r"no ROS 2 found.*run: make setup"):
        ros_environment(make_workspace(tmp_path))


def test_messages_that_were_not_built_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="vipa_msgs has not been built; run: make setup"):
        ros_environment(tmp_path)


def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = {
        "ROS_DOMAIN_ID": "42",
        "OMP_NUM_THREADS": "3",
        "MUJOCO_GL": "osmesa",
        "FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert own.items() <= ros_environment(make_workspace(tmp_path)).items()


def test_defaults_and_an_empty_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare_environment(monkeypatch)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    values = ros_environment(make_workspace(tmp_path))
    assert values["FASTRTPS_DEFAULT_PROFILES_FILE"] == str(FAST_DDS_PROFILE)
    assert (values["OMP_NUM_THREADS"], values["MUJOCO_GL"]) == ("1", "egl")
    assert "ROS_DOMAIN_ID" not in values


def test_the_process_itself_is_not_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = dict(os.environ)
    ros_environment(make_workspace(tmp_path))
    assert dict(os.environ) == before


def test_the_profile_has_large_shared_memory_and_only_the_loopback_interface() -> None:
    names = {"d": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    root = ElementTree.parse(FAST_DDS_PROFILE).getroot()
    transports = {t.findtext("d:type", "", names): t for t in root.iterfind(".//d:transport_descriptor", names)}
    assert set(transports) == {"SHM", "UDPv4"}
    assert int(transports["SHM"].findtext("d:segment_size", "0", names)) == 32 << 20
    assert [a.text for a in transports["UDPv4"].iterfind(".//d:address", names)] == ["127.0.0.1"]
    assert root.findtext(".//d:useBuiltinTransports", "", names) == "false"
    used = {t.text for t in root.iterfind(".//d:userTransports/d:transport_id", names)}
    assert used == {t.findtext("d:transport_id", "", names) for t in transports.values()}


@pytest.mark.ros
def test_participants_with_the_profile_listen_on_loopback_only() -> None:
    code = (
        "import rclpy; rclpy.init(); n = rclpy.create_node('probe'); print('up', flush=True); input(); rclpy.shutdown()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**ros_environment(), "ROS_DOMAIN_ID": "202"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    inodes = {
        os.readlink(f).removeprefix("socket:[").rstrip("]")
        for f in Path(f"/proc/{process.pid}/fd").iterdir()
        if os.readlink(f).startswith("socket:")
    }
    sockets = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    local = {fields[1].partition(":")[0] for fields in sockets if fields[9] in inodes}
    process.communicate("\n", timeout=20)
    multicast = "0100FFEF"  # 239.255.0.1, the discovery group; joined on the loopback interface
    assert local - {multicast} == {"0100007F"}
