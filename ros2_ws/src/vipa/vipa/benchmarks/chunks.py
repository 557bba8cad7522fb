"""What real-time chunking does at the seams of chunks: a closed loop of policy and controller, without ROS.

A small policy whose chunks disagree with one another (``orbit_policy``) runs with a fixed delay of inference against
the controller at 100 Hz and an arm that follows the controller's trajectory exactly: once with no regard to what is
committed, so that only the controller's blending joins the chunks, and once with each kind of real-time chunking.
"""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vipa.benchmarks.orbit_policy import NS, FitConfig, Mode, OrbitConfig, OrbitPolicy, fit_head
from vipa.control.config import ControlConfig
from vipa.control.controller import ArmSnapshot, Controller
from vipa.control.gate import SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.control.schedule import ChunkScheduler
from vipa.result import Bound, Result
from vipa_inference.policy import ActionChunk
from vipa_inference.real_time_chunking import PlanTracker

Array = NDArray[np.float64]

MODES: tuple[Mode, ...] = ("none", "training", "inference")
BOUNDS: dict[str, Bound] = {
    "training_target_velocity_jump_p99_ratio": ("<=", 0.5),  # 0.13 to 0.28 with four seeds
    "training_commanded_velocity_jump_p50_ratio": ("<=", 0.5),  # 0.20 to 0.27
    "training_chunks_refused": ("==", 0.0),
    "inference_target_velocity_jump_p99_ratio": ("<=", 0.6),  # 0.22 to 0.30
    "inference_commanded_velocity_jump_p50_ratio": ("<=", 0.7),  # 0.40 to 0.43
    "inference_chunks_refused": ("==", 0.0),
}
"""What real-time chunking is to make of the jumps that are there without it."""
START_NS = 10 * NS
SETTLING_S = 2.0  # s at the beginning that do not count
SHORTEST_S = 5.0  # s of a run that give enough seams
PERCENTILES = (("p50", 50.0), ("p99", 99.0), ("max", 100.0))


@dataclass(frozen=True)
class ChunksConfig:
    """The benchmark."""

    seconds: float = 25.0  # s of simulated time per mode
    delay_steps: int = 2  # steps from an observation to the acceptance of its chunk
    execute_steps: int = 3  # steps between two observations
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)
    orbit: OrbitConfig = field(default_factory=OrbitConfig)
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        if not self.seconds >= SHORTEST_S:
            raise ValueError(f"seconds: {self.seconds} is less than {SHORTEST_S}")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} is negative")
        if self.delay_steps < 1 or self.execute_steps < 1:
            raise ValueError("delay_steps and execute_steps must be at least 1")


@dataclass
class Run:
    """What happened in the closed loop with one mode, at every step of the chunks."""

    targets: Array  # (N, 4, 4) end-effector targets of the newest chunk in effect, m
    commanded: Array  # (N, 7) rad
    seams: NDArray[np.int64]  # (S,) indices of the first target of each chunk
    refusals: Counter[str]  # chunks refused, by the rule
    changes: Counter[str]  # chunks changed by the gate, by the rule


@dataclass(frozen=True)
class _Effective:
    """An accepted chunk."""

    effect_ns: int  # rows up to here are overdue
    observation_ns: int
    poses: Array  # (H, 4, 4)


def run_benchmark(config: ChunksConfig) -> Result:
    """Fit the heads, run all modes and compare them, on one thread (the head is too small for more)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run_benchmark(config)
    finally:
        torch.set_num_threads(threads)


def _run_benchmark(config: ChunksConfig) -> Result:
    figures: dict[str, float] = {}
    details: dict[str, object] = {"config": asdict(config)}
    heads = {prefixes: fit_head(prefixes, config.fit, config.orbit, config.seed) for prefixes in (False, True)}
    kinematics = Kinematics(config.control.kinematics)
    for mode in MODES:
        home = np.array(config.control.kinematics.rest_posture)
        centre = kinematics.forward(home)[:3, 3] - np.array([sum(config.orbit.radius) / 2.0, 0.0, 0.0])
        run = run_loop(OrbitPolicy(heads[mode == "training"], mode, centre, config.seed), kinematics, home, config)
        figures |= {f"{mode}_{name}": value for name, value in run_figures(run, kinematics, config).items()}
        details[mode] = {"chunks": len(run.seams), "refusals": dict(run.refusals), "changes": dict(run.changes)}
    for mode in MODES[1:]:
        for what in ("target", "commanded"):
            for percentile in ("p50", "p99"):
                figure = f"{what}_velocity_jump_{percentile}"
                ratio = figures[f"{mode}_{figure}_m_s"] / figures[f"none_{figure}_m_s"]
                figures[f"{mode}_{figure}_ratio"] = ratio
    return Result("bench chunks", True, figures, BOUNDS, details)


def run_loop(policy: OrbitPolicy, kinematics: Kinematics, home: Array, config: ChunksConfig) -> Run:
    """The closed loop: observe, infer with a delay, accept, execute."""
    control, hand = config.control, np.ones(6)
    scheduler = ChunkScheduler(control.schedule, home, hand)
    controller = Controller(kinematics, SafetyGate(control.gate, kinematics), scheduler, control)
    tracker = PlanTracker(control.schedule.lead_s)
    step_ns = round(config.fit.step_period * NS)
    refusals: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    waiting: deque[tuple[int, ActionChunk]] = deque()  # when the inference of a chunk ends
    coming: deque[_Effective] = deque()
    targets: list[Array] = []
    commanded: list[Array] = []
    seams: list[int] = []
    in_effect: _Effective | None = None
    cycles = range(START_NS, START_NS + round(config.seconds * NS), round(NS / control.rate))
    for now_ns in tqdm(cycles, f"real-time chunking: {policy.mode}", leave=False, disable=None):
        state = scheduler.sample(now_ns)
        controller.update_state(ArmSnapshot(state.q, state.dq, now_ns), hand)
        if waiting and waiting[0][0] <= now_ns:
            chunk = waiting.popleft()[1]
            effect_ns = scheduler.change_ns(now_ns)
            events = controller.accept(chunk, now_ns)
            accepted = all(event.accepted for event in events)
            (changes if accepted else refusals).update(event.rule for event in events)
            controller.tick(now_ns, motion_allowed=True)
            if accepted:
                coming.append(_Effective(effect_ns, chunk.observation_ns, chunk.target_poses()))
                tracker.received(controller.committed(now_ns), chunk.chunk_id, now_ns)
        else:
            controller.tick(now_ns, motion_allowed=True)
        step, remainder = divmod(now_ns - START_NS, step_ns)
        if remainder:
            continue
        if coming and coming[0].effect_ns < now_ns:
            in_effect = coming.popleft()
            seams.append(len(targets))
        if in_effect is not None:
            row = min((now_ns - in_effect.observation_ns) // step_ns - 1, len(in_effect.poses) - 1)
            targets.append(in_effect.poses[row])
            commanded.append(state.q)
        if step % config.execute_steps == 0:
            committed = tracker.committed(now_ns, now_ns)
            next_id = step // config.execute_steps + 1
            chunk = policy.infer(kinematics.forward(state.q), hand, committed, now_ns, next_id)
            tracker.inferred(next_id, now_ns)
            waiting.append((now_ns + config.delay_steps * step_ns, chunk))
    return Run(np.array(targets), np.array(commanded), np.array(seams), refusals, changes)


def run_figures(run: Run, kinematics: Kinematics, config: ChunksConfig) -> dict[str, float]:
    """The jumps at the seams, in end effector and joints, of the targets and of what was commanded; the deviation.

    A jump of the velocity is the change of the mean velocity from one step to the next, so the second difference of the
    positions over the step period; a jump of the acceleration is the third difference over its square. At a seam the
    largest counts of those that reach over it, for what was commanded over any part of the blend.
    """
    step = config.fit.step_period
    settled = round(SETTLING_S / step)
    seams = run.seams[(run.seams >= settled) & (run.seams < len(run.targets) - 8)]
    blend = round(config.control.schedule.blend_s / step)
    target_q, _ = kinematics.solve_path(run.targets, run.commanded[0])
    commanded = kinematics.forward(run.commanded)[:, :3, 3]
    figures = {
        "chunks_refused": float(run.refusals.total()),
        "chunks_changed": float(run.changes.total()),
    }
    deviation = np.linalg.norm(commanded - run.targets[:, :3, 3], axis=1)[settled:] * 1e3
    figures |= {f"deviation_{name}_mm": float(np.percentile(deviation, p)) for name, p in PERCENTILES}
    for what, position, q, after in (
        ("target", run.targets[:, :3, 3], target_q, 0),
        ("commanded", commanded, run.commanded, blend),
    ):
        for order, jump, power in ((2, "velocity", ""), (3, "acceleration", "2")):
            for unit, values, size in (("m_s", position, _length), ("rad_s", q, _largest)):
                differences = size(np.diff(values, order, axis=0)) / step ** (order - 1)
                jumps = [differences[seam - order : seam + after].max() for seam in seams]
                for name, percentile in PERCENTILES:
                    figures[f"{what}_{jump}_jump_{name}_{unit}{power}"] = float(np.percentile(jumps, percentile))
    return figures


def _length(vectors: Array) -> Array:
    return np.linalg.norm(vectors, axis=1)


def _largest(vectors: Array) -> Array:
    return np.abs(vectors).max(axis=1)
