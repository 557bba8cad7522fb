"""Is the machine fit for it: kernel, clock rate, priorities, memory, disk, GPU?"""

import importlib.util
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

from vipa.doctor.check import Check, failed, passed, warned
from vipa.environment import repository_folder
from vipa.errors import ConfigurationError

GIB = 1 << 30
SHARED_MEMORY = Path("/dev/shm")
CPU_FOLDER = Path("/sys/devices/system/cpu")
WANTED_RT_PRIORITY = 80  # libfranka asks for a high SCHED_FIFO priority for its 1 kHz thread


def examine(needs_real_time: bool) -> list[Check]:
    """All checks of the machine; the simulated laboratory waits for a late client, so it needs no real-time kernel."""
    return [
        check_kernel(needs_real_time, _read(Path("/sys/kernel/realtime")), platform.version()),
        check_priority(needs_real_time, resource.getrlimit(resource.RLIMIT_RTPRIO)[0]),
        check_governor(_governors()),
        check_cores(len(os.sched_getaffinity(0))),
        check_shared_memory(_size(SHARED_MEMORY)),
        check_disk(_folder()),
        check_gpu(),
    ]


def check_kernel(needs_real_time: bool, realtime: str, version: str) -> Check:
    """PREEMPT_RT; ``realtime`` is the content of /sys/kernel/realtime."""
    if realtime == "1" or "PREEMPT_RT" in version:
        return passed("kernel", f"{platform.release()}, PREEMPT_RT")
    if not needs_real_time:
        return passed("kernel", f"{platform.release()}; no PREEMPT_RT, which a simulated laboratory does not need")
    return warned(
        "kernel",
        f"{platform.release()} has no PREEMPT_RT: the arm may abort with communication_constraints_violation",
        "install a PREEMPT_RT kernel (Ubuntu: pro enable realtime-kernel; Debian: apt install linux-image-rt-amd64)",
    )


def check_priority(needs_real_time: bool, limit: int) -> Check:
    """The limit of real-time priorities, RLIMIT_RTPRIO; root may do what it wants."""
    if os.geteuid() == 0 or limit == resource.RLIM_INFINITY or limit >= WANTED_RT_PRIORITY:
        return passed("real-time priority", "allowed")
    finding = f"limited to {limit}, the arm's control thread wants {WANTED_RT_PRIORITY}"
    if not needs_real_time:
        return passed("real-time priority", f"{finding}; a simulated laboratory does not need it")
    return warned(
        "real-time priority",
        finding,
        f"add '@realtime - rtprio {WANTED_RT_PRIORITY + 19}' to /etc/security/limits.conf, join it, log in again",
    )


def check_governor(governors: set[str]) -> Check:
    """The CPU frequency governor."""
    if not governors:
        return passed("CPU governor", "set by the host")
    if governors == {"performance"}:
        return passed("CPU governor", "performance")
    return warned("CPU governor", ", ".join(sorted(governors)), "sudo cpupower frequency-set -g performance")


def check_cores(count: int) -> Check:
    """Cores that this process may use."""
    if count < 2:
        return warned("CPU cores", f"{count}", "give it 2 or more: with fewer the simulated time falls behind")
    return passed("CPU cores", f"{count}")


def check_shared_memory(size: int) -> Check:
    """Size of /dev/shm in bytes: every process of the graph has a segment of 32 MiB there."""
    text = f"{size / GIB:.2g} GiB in {SHARED_MEMORY}"
    if size < GIB // 8:
        return failed("shared memory", text, "in a container: docker run --shm-size=1g")
    if size < GIB // 2:
        return warned("shared memory", text, "make it 1 GiB, in a container with --shm-size=1g")
    return passed("shared memory", text)


def check_disk(folder: Path) -> Check:
    """Free space for logs and recordings."""
    free = shutil.disk_usage(folder).free
    text = f"{free / GIB:.1f} GiB free at {folder}"
    if free < GIB // 2:
        return failed("disk", text, "make room for logs")
    if free < 20 * GIB:
        return warned("disk", text, "make room before recording: a minute takes up to 1 GiB")
    return passed("disk", text)


def check_gpu() -> Check:
    """An NVIDIA GPU and TensorRT; small policies need neither."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return passed("GPU", "none; policies run on the CPU")
    command = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return warned("GPU", "nvidia-smi does not answer", "restart the machine, or reinstall the driver")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return warned("GPU", "nvidia-smi finds none that works", "reinstall the NVIDIA driver")
    if importlib.util.find_spec("tensorrt") is None and importlib.util.find_spec("tensorrt_rtx") is None:
        return warned("GPU", f"{lines[0]}; TensorRT is not installed", "pip install tensorrt, for the 2b model")
    return passed("GPU", f"{lines[0]}; TensorRT installed")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _governors() -> set[str]:
    return {text for path in CPU_FOLDER.glob("cpu[0-9]*/cpufreq/scaling_governor") if (text := _read(path))}


def _size(folder: Path) -> int:
    return shutil.disk_usage(folder).total if folder.is_dir() else 0


def _folder() -> Path:
    try:
        return repository_folder()
    except ConfigurationError:
        return Path.home()
