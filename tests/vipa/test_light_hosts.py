"""What a two-host cell does without: its robot PC without torch and MuJoCo, its workstation without ROS and drivers."""

import subprocess
import sys
from pathlib import Path

import pytest

import vipa.nodes
from vipa.environment import ros_environment
from vipa.graph import GraphArguments, describe

HEAVY = ("torch", "torchvision", "transformers", "onnxruntime", "onnx", "openvino", "tensorrt", "tensorrt_rtx")
SIMULATION = ("mujoco", "franky_sim", "gymnasium", "vipa_sim")
ROS = ("rclpy", "vipa_msgs", "sensor_msgs")
DRIVERS = ("franky", "pymodbus", "pyrealsense2", "serial", "evdev", "pyspacemouse")

IMPORT = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not on this host", name=name)

blocked = sys.argv[1].split(",")
sys.meta_path.insert(0, Blocked())
for module in sys.argv[2].split(","):
    importlib.import_module(module)
assert not set(blocked) & {name.partition(".")[0] for name in sys.modules}
"""


def run_without(blocked: tuple[str, ...], code: str, *arguments: str, ros: bool) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process in which the packages cannot be imported."""
    command = [sys.executable, "-c", code, ",".join(blocked), *arguments]
    environment = ros_environment() if ros else None
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.ros
def test_every_node_of_the_robot_pc_runs_without_torch_mujoco_and_runtimes() -> None:
    graph = describe(GraphArguments(lab="example_real", policy="remote", console=True, record=True))
    modules = {f"vipa.nodes.{file.stem}" for file in Path(vipa.nodes.__file__ or "").parent.glob("[a-z]*.py")}
    assert {node.module for node in graph} <= modules
    done = run_without(HEAVY + SIMULATION, IMPORT, ",".join(sorted(modules)), ros=True)
    assert done.returncode == 0, done.stderr


def test_the_policies_that_a_robot_pc_can_run_need_no_torch() -> None:
    code = IMPORT + (
        "from vipa_inference.registry import make_policy\n"
        "assert make_policy('scripted').name == 'scripted'\n"
        "from vipa_inference.policy import PolicyError\n"
        "for name, complaint in (('remote', 'cannot be reached'), ('vipa', 'run the policy on another machine')):\n"
        "    try: make_policy(name, **({'url': 'ws://127.0.0.1:9'} if name == 'remote' else {}))\n"
        "    except PolicyError as error: assert complaint in str(error), error\n"
        "    else: raise AssertionError(name)\n"
    )
    done = run_without(HEAVY + SIMULATION, code, "vipa_inference.serving.client", ros=False)
    assert done.returncode == 0, done.stderr


def test_the_workstation_serves_without_ros_and_without_drivers(tmp_path: Path) -> None:
    lab = Path("lab.yaml")
    code = IMPORT + (
        "from vipa.cli import main\n"
        f"status = main(['serve', '--lab', {str(tmp_path / lab)!r}, '--policy', 'nonsense'])\n"
        "assert status, status\n"
    )
    shipped = Path(sys.modules["vipa"].__file__ or "").parent / "lab" / "example_real.yaml"
    text = shipped.read_text(encoding="utf-8")
    (tmp_path / lab).write_text(f"{text}\nworkstation: {{address: 127.0.0.1}}\n", encoding="utf-8")
    done = run_without(ROS + DRIVERS + SIMULATION, code, "vipa.commands.serve", ros=False)
    assert done.returncode == 0, done.stderr
    assert "unknown policy 'nonsense'" in done.stderr, done.stderr
