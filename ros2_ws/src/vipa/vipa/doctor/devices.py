"""Are the devices of the laboratory there; or, where it is simulated, are its addresses free?"""

import importlib.metadata
import socket
import time
from pathlib import Path
from typing import Any

from vipa.doctor.check import Check, failed, passed, warned
from vipa.errors import HardwareError
from vipa.hardware import realsense
from vipa.lab import LabConfig, split_address
from vipa.leftovers import graph_processes

FCI_PORT = 1337  # fixed in libfranka
TIME_OUT_S = 1.0
RECALIBRATE_AFTER_DAYS = 90


def examine(lab: LabConfig, lab_name: str) -> list[Check]:
    """All checks of the laboratory's devices."""
    if lab.simulated:
        return [check_addresses(lab), check_librealsense()]
    return [check_arm(lab), check_hand(lab), *check_cameras(lab), check_calibration(Path(lab_name))]


def check_addresses(lab: LabConfig) -> Check:
    """The addresses on which the simulated laboratory listens."""
    addresses = {(lab.arm.address, FCI_PORT): "arm"}
    addresses[split_address(lab.hand.address, "hand.address")] = "hand"
    addresses[split_address(lab.referee, "referee")] = "referee"
    for name, camera in lab.cameras.items():
        addresses[split_address(str(camera.feed), f"cameras.{name}.feed")] = "camera feed"
    taken = [f"{host}:{port} ({what})" for (host, port), what in addresses.items() if not is_free(host, port)]
    if not taken:
        return passed("laboratory", f"simulated; its {len(addresses)} addresses are free")
    running = sorted({p.bringup_pid for p in graph_processes() if not p.is_stale})
    if running:
        return passed("laboratory", f"simulated, and running (bring-up is process {running[0]})")
    return failed("laboratory", f"in use by another program: {', '.join(taken)}", "end it (ss -ltnp names it)")


def check_librealsense() -> Check:
    """The camera nodes of a simulated laboratory use librealsense too, without a camera."""
    try:
        realsense.load()
    except HardwareError as error:
        return failed("librealsense", str(error), "run: make setup")
    return passed("librealsense", f"pyrealsense2 {importlib.metadata.version('pyrealsense2')}")


def check_arm(lab: LabConfig) -> Check:
    """The robot control unit accepts connections on the port of the FCI."""
    if answers(lab.arm.address, FCI_PORT):
        return passed("FR3", f"{lab.arm.address}:{FCI_PORT} answers")
    return failed(
        "FR3",
        f"no answer from {lab.arm.address}:{FCI_PORT}",
        "check power, cable and arm.address; unlock the joints and activate FCI in Desk",
    )


def check_hand(lab: LabConfig) -> Check:
    """The hand's Modbus server, or its serial adapter."""
    if lab.hand.link == "rtu":
        if Path(lab.hand.serial_port).exists():
            return passed("hand", f"serial adapter {lab.hand.serial_port}")
        return failed("hand", f"no {lab.hand.serial_port}", "plug the adapter in, or set hand.serial_port")
    host, port = split_address(lab.hand.address, "hand.address")
    if answers(host, port):
        return passed("hand", f"{lab.hand.address} answers")
    return failed("hand", f"no answer from {lab.hand.address}", "check its 24 V supply, the cable and hand.address")


def check_cameras(lab: LabConfig) -> list[Check]:
    """Each camera is connected, at USB 3."""
    try:
        devices = _connected_cameras(realsense.load())
    except HardwareError as error:
        return [failed("cameras", str(error), "run: make setup")]
    checks: list[Check] = []
    for name, camera in lab.cameras.items():
        title, serial = f"camera {name}", camera.device.serial
        if camera.device.bag is not None:
            exists = camera.device.bag.is_file()
            finding = f"plays {camera.device.bag}"
            checks.append(passed(title, finding) if exists else failed(title, f"{finding}: no such file", "correct it"))
        elif serial not in devices:
            found = ", ".join(devices) or "none"
            cure = f"check the USB 3 cable or set cameras.{name}.device.serial"
            checks.append(failed(title, f"no RealSense with serial {serial}; found: {found}", cure))
        elif not devices[serial].startswith("3"):
            finding = f"{serial} runs at USB {devices[serial]}"
            checks.append(failed(title, finding, "plug it into a USB 3 port, with the cable that came with it"))
        else:
            checks.append(passed(title, f"{serial} at USB {devices[serial]}"))
    return checks


def check_calibration(lab_file: Path) -> Check:
    """The age of the poses of the cameras, that is of the laboratory's YAML."""
    if not lab_file.is_file():
        return warned("calibration", "a shipped example has the poses of no real camera", "write your own YAML file")
    days = (time.time() - lab_file.stat().st_mtime) / 86400
    if days > RECALIBRATE_AFTER_DAYS:
        return warned("calibration", f"{lab_file} is {days:.0f} days old", "measure the extrinsics again")
    return passed("calibration", f"{lab_file}, {days:.0f} days old")


def is_free(host: str, port: int) -> bool:
    """True where a server could listen on the address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def answers(host: str, port: int) -> bool:
    """True where a server accepts a connection; it is closed at once."""
    try:
        with socket.create_connection((host, port), timeout=TIME_OUT_S):
            return True
    except OSError:
        return False


def _connected_cameras(library: Any) -> dict[str, str]:
    """Serial number to USB type ("3.2") of the connected cameras."""
    info = library.camera_info
    return {
        d.get_info(info.serial_number): d.get_info(info.usb_type_descriptor) for d in library.context().query_devices()
    }
