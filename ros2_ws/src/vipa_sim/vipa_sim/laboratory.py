"""The simulated laboratory: one MuJoCo world behind FCI, Modbus and the camera feed; ROS-free."""

import functools
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vipa.lab import LabConfig, split_address
from vipa.scheduling import CHAIN_PRIORITY, WORLD_PRIORITY, request_real_time
from vipa_sim.control_port import ControlPort
from vipa_sim.errors import SimulationError
from vipa_sim.experts.situation import Situation
from vipa_sim.fci import FciServer
from vipa_sim.hand_firmware import HandFirmware
from vipa_sim.hand_server import hand_server
from vipa_sim.scenes import make_scene
from vipa_sim.scenes.base import CAMERA_POSES, displace_camera
from vipa_sim.simulated_camera import FAULTS, SimulatedCamera
from vipa_sim.world import World

T = TypeVar("T")
HAND_PERIOD_NS = 5_000_000
CALL_PERIOD_NS = 10_000_000
CLOCK_PERIOD_NS = 40_000_000


@dataclass(frozen=True)
class LaboratoryConfig:
    """What one run of the laboratory simulates."""

    task: str = "reach"
    seed: int = 0
    variant: str = "seen"
    strict: bool = True  # the robot checks motion limits as the real one does
    elastic: float = 0.2  # s the simulated clock waits for a late client


class Laboratory:
    """Runs the world in the thread that calls ``run``; hand and control port have threads, each camera a process.

    The simulated clock starts at wall time and never runs ahead of it. It waits where a client or the renderer is late,
    so a slow machine stretches time instead of dropping packets or frames.

    Args:
        lab: the laboratory's configuration; the servers listen on the addresses at which the drivers look for devices.
        config: what to simulate.
        publish_clock: called with the simulated time (ns) every 40 ms of it.
        write_clock: called with the simulated time (ns) after every step of the world.

    Raises:
        SimulationError: an address is in use, or the task is unknown.
    """

    def __init__(
        self,
        lab: LabConfig,
        config: LaboratoryConfig,
        publish_clock: Callable[[int], None],
        write_clock: Callable[[int], None],
    ) -> None:
        self._lab, self._config = lab, config
        self._publish_clock, self._write_clock = publish_clock, write_clock
        self.scene = make_scene(config.task)
        self.scene.has_reference_boards |= lab.calibration.checks_drift
        self.world = World(self.scene, seed=config.seed, variant=config.variant)
        self._firmware = HandFirmware(lab.hand.model)
        self._hand_server = hand_server(lab.hand, self._firmware)
        self._cameras = {name: SimulatedCamera(name, config) for name, config in lab.cameras.items()}
        self.fci = FciServer(
            self.world, lab.arm.address, strict=config.strict, elastic_s=config.elastic, after_step=self._after_step
        )
        referee_host, referee_port = split_address(lab.referee, "referee")
        self._control_port = ControlPort(self._commands(), referee_host, referee_port)
        self._calls: queue.Queue[tuple[Callable[[], Any], queue.Queue[Any]]] = queue.Queue()
        now_ns = self.world.time_ns
        self._next_hand = self._next_call = self._next_clock = now_ns
        self._episode = 0  # how often the scene was reset
        self._closed = False

    def run(self) -> None:
        """Run until ``stop``.

        Raises:
            SimulationError: the cameras cannot see, or ended.
        """
        try:
            for camera in self._cameras.values():
                camera.start(self.world.model, self.world.time_ns)
            for camera in self._cameras.values():
                camera.wait_until_ready()
            request_real_time(CHAIN_PRIORITY)  # a hand has a processor of its own: it answers however busy others are
            self._hand_server.start()
            self._control_port.start()
            request_real_time(WORLD_PRIORITY)
            self.fci.run()
        finally:
            self.close()

    def stop(self) -> None:
        """End ``run``; safe from a signal handler or another thread."""
        self.fci.stop()

    def close(self) -> None:
        """Close every server."""
        if not self._closed:
            self._closed = True
            self._control_port.stop()
            for camera in self._cameras.values():
                camera.stop()
            self._hand_server.stop()

    def call(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the world's thread between two steps.

        Raises:
            SimulationError: what ``work`` raised.
        """
        answer: queue.Queue[Any] = queue.Queue()
        self._calls.put((work, answer))
        try:
            result = answer.get(timeout=5.0)
        except queue.Empty:
            raise SimulationError("the world does not step; is the laboratory shutting down?") from None
        if isinstance(result, Exception):
            raise SimulationError(str(result))
        return result

    def _after_step(self) -> None:
        now_ns = self.world.time_ns
        self._write_clock(now_ns)
        if now_ns >= self._next_hand:
            self._next_hand += HAND_PERIOD_NS
            targets = self._firmware.step(now_ns * 1e-9, self.world.hand_positions(), self.world.hand_forces())
            self.world.set_hand_targets(targets)
        for camera in self._cameras.values():
            camera.expose_if_due(now_ns, self.world.snapshot)
        if now_ns >= self._next_call:
            self._next_call += CALL_PERIOD_NS
            while not self._calls.empty():
                work, answer = self._calls.get()
                try:
                    answer.put(work())
                except (SimulationError, ValueError, TypeError, KeyError) as error:
                    answer.put(error)
        if now_ns >= self._next_clock:
            self._next_clock += CLOCK_PERIOD_NS
            self._publish_clock(now_ns)

    def _commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        fci, hand = self.fci, self._firmware

        def in_world(work: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
            return lambda **arguments: self.call(lambda: work(**arguments)) or {}

        def done(work: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
            def run(**arguments: Any) -> dict[str, Any]:
                work(**arguments)
                return {}

            return run

        return {
            "status": in_world(self._status),
            "reset": in_world(self._reset),
            "judge": in_world(self._judge),
            "situation": in_world(self._situation),
            "statistics": lambda: {
                "fci": fci.statistics(),
                "exposures": {n: c.exposures for n, c in self._cameras.items()},
            },
            "reset_statistics": done(fci.reset_statistics),
            "user_stop": done(fci.user_stop),
            "release_user_stop": done(fci.release_user_stop),
            "push": done(fci.push),
            "drop_packets": done(fci.drop_packets),
            "disconnect_arm": done(fci.disconnect),
            "delay_arm": done(fci.delay),
            "guide_arm": done(fci.guiding),
            "silence_hand": done(hand.silence),
            "spoil_hand": done(hand.spoil),
            "set_hand_error": done(hand.set_error),
            "disconnect_hand": done(hand.disconnect),
            "move_camera": in_world(self._move_camera),
            **{f"{kind}_camera": in_world(functools.partial(self._fault_camera, kind)) for kind in FAULTS},
        }

    def _fault_camera(self, kind: str, name: str, **arguments: Any) -> None:
        if name not in self._cameras:
            raise SimulationError(f"no camera {name!r}; known: {', '.join(self._cameras)}")
        self._cameras[name].fault(kind, **arguments)

    def _move_camera(self, name: str, shift: Sequence[float], turn: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
        """Until the next reset; see ``displace_camera``."""
        if name not in CAMERA_POSES:
            raise SimulationError(f"no camera {name!r}; known: {', '.join(CAMERA_POSES)}")
        displace_camera(self.world, name, shift, turn)

    def _status(self) -> dict[str, Any]:
        pose = self.world.end_effector_pose()
        return {
            "task": self._config.task,
            "time_ns": self.world.time_ns,
            "joint_positions": [float(v) for v in self.world.positions],
            "joint_velocities": [float(v) for v in self.world.velocities],
            "end_effector_position": [float(v) for v in pose[:3, 3]],
            "hand_positions": [float(v) for v in self.world.hand_positions()],
        }

    def _reset(self, task: str, seed: int, variant: str = "seen") -> dict[str, Any]:
        if task != self._config.task:
            raise SimulationError(
                f"this laboratory was started with task {self._config.task}; start one with task {task}"
            )
        self.scene.check_is_task()
        self.world.reset(int(seed), variant)
        self._episode += 1
        return {
            "task": task,
            "instruction": self.scene.instruction,
            "sub_tasks": list(self.scene.sub_tasks),
            "time_limit": self.scene.time_limit_s,
        }

    def _judge(self) -> dict[str, Any]:
        return {"done": [bool(d) for d in self.scene.judge(self.world)], "time_ns": self.world.time_ns}

    def _situation(self) -> dict[str, Any]:
        return {**Situation.of(self.world).as_mapping(), "episode": self._episode}
