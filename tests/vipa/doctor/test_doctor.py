"""The doctor's findings."""

import json
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vipa import doctor
from vipa.cli import main
from vipa.doctor import devices, machine, software
from vipa.doctor.check import Check, failed, passed, warned
from vipa.errors import ConfigurationError, HardwareError

SERIAL = "f0123456"


def lab(port: int = 0, **changes: Any) -> Any:
    device = SimpleNamespace(serial=SERIAL, bag=None)
    values = {
        "simulated": False,
        "arm": SimpleNamespace(address="127.0.0.1"),
        "hand": SimpleNamespace(address=f"127.0.0.1:{port}", link="tcp", serial_port="/dev/none"),
        "cameras": {"front": SimpleNamespace(device=device, feed=f"127.0.0.1:{port}")},
        "referee": f"127.0.0.1:{port}",
    }
    return SimpleNamespace(**{**values, **changes})


@pytest.mark.parametrize(
    ("version", "status"), [((3, 9), "fail"), ((3, 10), "warn"), ((3, 11), "ok"), ((3, 12), "warn"), ((3, 13), "fail")]
)
def test_python(version: tuple[int, int], status: str) -> None:
    assert software.check_python(version).status == status


def test_versions_that_differ_or_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"a": "1.0", "b": "2.0+cpu", "c": "3.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise software.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(software.importlib.metadata, "version", version)
    wanted = {"a": "1.0", "b": "2.0", "c": "3.0", "d": "4.0"}
    assert software.differences(wanted) == ["c is 3.1, wanted 3.0", "d 4.0 is missing"]


def test_the_lock_is_read_with_its_markers() -> None:
    text = "# heading\n\na==1.0\nb==2.0; python_version < '3.0'\nc==3.0  # why\n"
    assert software.read_lock(text) == {"a": "1.0", "c": "3.0"}


@pytest.mark.parametrize("line", ["a>=1.0", "a", "a==1.0 b", "=="])
def test_a_line_of_the_lock_that_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"requirements\.lock"):
        software.read_lock(line)


def test_a_kernel_without_real_time_matters_only_to_a_real_robot() -> None:
    assert machine.check_kernel(True, "", "#1 SMP").status == "warn"
    assert machine.check_kernel(False, "", "#1 SMP").status == "ok"
    assert machine.check_kernel(True, "1", "#1 SMP").status == "ok"
    assert machine.check_kernel(True, "", "#1 SMP PREEMPT_RT").status == "ok"


def test_real_time_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    assert machine.check_priority(True, 0).status == "warn"
    assert machine.check_priority(False, 0).status == "ok"
    assert machine.check_priority(True, 99).status == "ok"
    assert machine.check_priority(True, machine.resource.RLIM_INFINITY).status == "ok"


@pytest.mark.parametrize(
    ("governors", "status"), [(set[str](), "ok"), ({"performance"}, "ok"), ({"performance", "powersave"}, "warn")]
)
def test_governor(governors: set[str], status: str) -> None:
    assert machine.check_governor(governors).status == status


@pytest.mark.parametrize(("mib", "status"), [(64, "fail"), (256, "warn"), (1024, "ok")])
def test_shared_memory(mib: int, status: str) -> None:
    assert machine.check_shared_memory(mib << 20).status == status


@pytest.mark.parametrize(("gib", "status"), [(0.1, "fail"), (5, "warn"), (50, "ok")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: float, status: str) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: SimpleNamespace(free=gib * machine.GIB))
    assert machine.check_disk(tmp_path).status == status


@pytest.mark.parametrize(
    ("output", "code", "trt", "status"),
    [
        ("H200, 580.1, 141 GB\n", 0, True, "ok"),
        ("H200\n", 0, False, "warn"),
        ("", 9, True, "warn"),
        ("", 0, True, "warn"),
    ],
)
def test_gpu(monkeypatch: pytest.MonkeyPatch, output: str, code: int, trt: bool, status: str) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    done = subprocess.CompletedProcess([], code, output, "")
    monkeypatch.setattr(machine.subprocess, "run", lambda *a, **k: done)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: object() if trt else None)
    assert machine.check_gpu().status == status


def test_a_machine_without_gpu_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.check_gpu().status == "ok"


def test_a_server_answers_and_its_address_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert devices.answers("127.0.0.1", port)
        assert not devices.is_free("127.0.0.1", port)
        assert devices.check_hand(lab(port)).status == "ok"
    assert not devices.answers("127.0.0.1", port)
    assert devices.is_free("127.0.0.1", port)
    check = devices.check_hand(lab(port))
    assert check.status == "fail"
    assert f"127.0.0.1:{port}" in check.finding


def test_a_serial_hand_needs_its_adapter(tmp_path: Path) -> None:
    (tmp_path / "tty").touch()
    hand = SimpleNamespace(link="rtu", serial_port=str(tmp_path / "tty"), address="")
    assert devices.check_hand(lab(hand=hand)).status == "ok"
    hand.serial_port = str(tmp_path / "none")
    assert devices.check_hand(lab(hand=hand)).status == "fail"


def test_an_address_of_the_simulated_laboratory_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "graph_processes", list)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check = devices.check_addresses(lab(port, arm=SimpleNamespace(address="127.0.0.222")))
    assert check.status == "fail"
    assert f"127.0.0.1:{port}" in check.finding


def connected(monkeypatch: pytest.MonkeyPatch, cameras: dict[str, str]) -> None:
    found = [SimpleNamespace(get_info=(serial, usb).__getitem__) for serial, usb in cameras.items()]
    library = SimpleNamespace(
        camera_info=SimpleNamespace(serial_number=0, usb_type_descriptor=1),
        context=lambda: SimpleNamespace(query_devices=lambda: found),
    )
    monkeypatch.setattr(devices.realsense, "load", lambda: library)


@pytest.mark.parametrize(
    ("cameras", "status", "words"),
    [
        ({SERIAL: "3.2"}, "ok", "USB 3.2"),
        ({SERIAL: "2.1"}, "fail", "USB 2.1"),
        ({"f999": "3.2"}, "fail", "found: f999"),
        ({}, "fail", "found: none"),
    ],
)
def test_cameras(monkeypatch: pytest.MonkeyPatch, cameras: dict[str, str], status: str, words: str) -> None:
    connected(monkeypatch, cameras)
    (check,) = devices.check_cameras(lab())
    assert check.status == status
    assert words in check.finding


def test_without_librealsense_cameras_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise HardwareError("pyrealsense2 is not installed")

    monkeypatch.setattr(devices.realsense, "load", load)
    assert devices.check_cameras(lab())[0].status == "fail"
    assert devices.check_librealsense().status == "fail"


def test_a_recording_in_the_place_of_a_camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connected(monkeypatch, {})
    device = SimpleNamespace(serial="", bag=tmp_path / "a.bag")
    played = lab(cameras={"front": SimpleNamespace(device=device)})
    assert devices.check_cameras(played)[0].status == "fail"
    (tmp_path / "a.bag").touch()
    assert devices.check_cameras(played)[0].status == "ok"


def test_a_laboratory_that_cannot_be_read_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "examine", list)
    (check,) = doctor.examine("/no/such/lab.yaml")
    assert (check.name, check.status) == ("laboratory", "fail")
    assert "no such file" in check.finding


CHECKS = [passed("a", "fine"), warned("b", "slow", "do b"), failed("c", "gone", "do c")]


@pytest.mark.parametrize(("checks", "code"), [(CHECKS, 1), (CHECKS[:2], 0), (CHECKS[:1], 0)])
def test_the_command_fails_only_for_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checks: list[Check], code: int
) -> None:
    monkeypatch.setattr("vipa.commands.doctor.examine", lambda lab: checks)
    assert main(["doctor", "--json", "-"]) == code
    output = capsys.readouterr()
    content = json.loads(output.out)
    assert content["ok"] is (code == 0)
    assert [c["name"] for c in content["details"]["checks"]] == [c.name for c in checks]
    assert len(output.err.splitlines()) == len(checks)
    assert all(c.cure in output.err for c in checks)
