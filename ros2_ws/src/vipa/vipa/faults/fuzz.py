"""Fuzzed action chunks through the controller's own logic, and fuzzed trajectories through the arm driver's check.

Time is simulated and the arm follows its commands perfectly; everything else is what runs in the cell. Sound chunks
come in between, so that the arm moves while the others arrive.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from vipa.control.config import ControlConfig
from vipa.faults.outcome import Outcome
from vipa.faults.rig import NS, Rig
from vipa.faults.suite import InjectionOptions
from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER, PLANNER_VELOCITY
from vipa.hardware.fr3.state import ArmMode, ArmReading
from vipa.hardware.fr3.trajectory import Checker, JointTrajectory, Plan
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk

Random = np.random.Generator

CHUNKS_PER_REPEAT = 200_000
TRAJECTORIES_PER_REPEAT = 2_000
BURST = 50  # fuzzed chunks in one control cycle
_SOUND_EVERY = 10  # cycles
_USABLE_SHARE = 0.02  # of chunks that come as far as the inverse kinematics, which takes its time
_NOW_NS = 1_000_000 * NS  # of trajectories
_ODD = (0.0, -0.0, 5e-324, -1e-310, 1e-38, 1e18, -1e18, 1e300, np.nan, np.inf, -np.inf)


class Fuzzer:
    """Offers chunks that are wrong in every way, and sound ones in between.

    Args:
        seed: of everything.
    """

    def __init__(self, seed: int) -> None:
        self.rig = Rig(seed)
        self.offered: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.sound_accepted = 0
        self._cycle = 0
        self._sound = self.rig.sound_chunk()

    def run(self, chunks: int) -> None:
        """Offer so many fuzzed chunks."""
        names = [*UNUSABLE, *USABLE]
        shares = [(1.0 - _USABLE_SHARE) / len(UNUSABLE)] * len(UNUSABLE) + [_USABLE_SHARE / len(USABLE)] * len(USABLE)
        while chunks > 0:
            burst = min(BURST, chunks)
            self.cycle([names[k] for k in self.rig.random.choice(len(names), size=burst, p=shares)])
            chunks -= burst

    def cycle(self, mutations: list[str]) -> None:
        """One control cycle: the arm's state, a sound chunk where one is due, fuzzed ones, and what leaves then."""
        rig = self.rig
        rig.begin_cycle()
        if self._cycle % _SOUND_EVERY == 0:
            self._sound = rig.sound_chunk()
            self.sound_accepted += rig.offer(self._sound)
        for name in mutations:
            self.offered[name] += 1
            self.accepted[name] += rig.offer(MUTATIONS[name](self._fresh(), rig.random, rig.now_ns))
        rig.tick()
        self._cycle += 1

    def _fresh(self) -> ActionChunk:
        """The sound chunk as from a later observation, so that the order alone does not refuse it."""
        self.rig.next_id += 1
        later_ns = self._sound.observation_ns + self.rig.next_id % BURST + 1
        return replace(self._sound, chunk_id=self.rig.next_id, observation_ns=later_ns)


# -- mutations ---------------------------------------------------------------------------------------------------------
Mutation = Callable[[ActionChunk, Random, int], object]


def _sprinkle(values: tuple[float, ...]) -> Mutation:
    """Some of the actions become one of the values."""

    def mutate(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
        actions = chunk.actions.copy()
        count = int(random.integers(1, 4))
        rows, columns = random.integers(len(actions), size=count), random.integers(ACTION_DIMENSION, size=count)
        actions[rows, columns] = random.choice(values, size=count)
        return replace(chunk, actions=actions)

    return mutate


def _scaled(factor: float) -> Mutation:
    """Steps of the arm so many times as long."""
    scale = np.where(np.arange(ACTION_DIMENSION) < 6, factor, 1.0)
    return lambda chunk, random, now_ns: replace(chunk, actions=chunk.actions * scale)


def _jumping(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    actions = chunk.actions.copy()
    actions[int(random.integers(len(actions))) :, :6] += random.normal(0.0, 10.0 ** random.uniform(-3, 1), 6)
    return replace(chunk, actions=actions)


def _misshapen(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    shapes = ((0, 12), (16,), (16, 11), (16, 13), (1, 16, 12), (65, 12), (12, 16), (), (4096, 12))
    return replace(chunk, actions=np.zeros(shapes[int(random.integers(len(shapes)))]))


def _mistyped(chunk: ActionChunk, random: Random, now_ns: int) -> object:
    actions: Any = chunk.actions
    wrong: tuple[Any, ...] = (
        actions.astype(np.int64),
        actions.astype(np.complex128),
        actions > 0.0,
        actions.astype(object),
        actions.astype("S8"),
        actions.tolist(),
        None,
        "actions",
    )
    k = int(random.integers(len(wrong) + 1))
    return replace(chunk, actions=wrong[k]) if k < len(wrong) else {"actions": actions}


def _narrow(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    return replace(chunk, actions=chunk.actions.astype(np.float16 if random.random() < 0.5 else np.float32))


def _late(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    return replace(chunk, observation_ns=now_ns - int(0.301 * NS * 10.0 ** random.uniform(0, 9)))


def _early(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    return replace(chunk, observation_ns=now_ns + int(0.011 * NS * 10.0 ** random.uniform(0, 12)))


def _mistimed(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    periods: tuple[Any, ...] = (0.0, -0.05, np.nan, np.inf, 1e-9, 0.5001, 1e300, 5e-324, None, "0.05", True, 2**80)
    return replace(chunk, step_period=periods[int(random.integers(len(periods)))])


def _misplaced(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    pose = chunk.reference_pose.copy()
    where = tuple(random.integers(4, size=2))
    pose[where] = random.choice(_ODD) if random.random() < 0.5 else pose[where] + random.normal(0.0, 2.0)
    return replace(chunk, reference_pose=pose)


def _disordered(chunk: ActionChunk, random: Random, now_ns: int) -> ActionChunk:
    return replace(chunk, actions=random.permuted(chunk.actions, axis=0))


MUTATIONS: dict[str, Mutation] = {
    "not_finite": _sprinkle((np.nan, np.inf, -np.inf)),
    "huge": _sprinkle((1e18, -1e18, 1e300, -1.7e308)),
    "denormal": _sprinkle((5e-324, -1e-310, -0.0)),
    "tenfold": _scaled(10.0),
    "mirrored": _scaled(-1.0),
    "jumping": _jumping,
    "misshapen": _misshapen,
    "mistyped": _mistyped,
    "narrow": _narrow,
    "late": _late,
    "early": _early,
    "mistimed": _mistimed,
    "misplaced": _misplaced,
    "disordered": _disordered,
}
"""What can be wrong with a chunk; each gives the wrong chunk from a sound one."""
UNUSABLE = ("not_finite", "huge", "misshapen", "mistyped", "late", "early", "mistimed")
"""Mutations of which the gate may accept none."""
USABLE = tuple(name for name in MUTATIONS if name not in UNUSABLE)
"""Mutations whose chunks may be sound, or be made so by the gate."""


# -- trajectories ------------------------------------------------------------------------------------------------------
def fuzz_trajectories(count: int, random: Random) -> tuple[int, int, list[str]]:
    """Wrong trajectories through the driver's check alone: how many it took and of those broke a limit; crashes."""
    config = FR3Config("127.0.0.1")
    checker, rest = Checker(config), np.array(ControlConfig().kinematics.rest_posture)
    speed, lower, upper = config.relative_dynamics * PLANNER_VELOCITY, JOINT_LOWER, JOINT_UPPER
    reading = ArmReading(ArmMode.STREAMING, desired_joint_positions=rest)
    taken, outside, crashes = 0, 0, list[str]()
    for _ in range(count):
        rows = int(random.integers(1, 12))
        values: list[Any] = [
            np.cumsum(random.uniform(0.02, 0.1, rows)),
            rest + np.cumsum(random.normal(0.0, 10.0 ** random.uniform(-4, -1), (rows, 7)), axis=0),
            random.normal(0.0, 10.0 ** random.uniform(-3, 1), (rows, 7)),
        ]
        if random.random() < 0.7:
            k = int(random.integers(3))
            odd = (random.choice(_ODD), values[k][:-1], values[k].astype("S8"), -values[k], values[k] * 10.0, None, "x")
            values[k] = odd[int(random.integers(len(odd)))]
            if isinstance(values[k], float) and random.random() < 0.8:
                values[k] = np.where(random.random((rows, 7)) < 0.1, values[k], rest)
        start_ns = _NOW_NS + int(random.normal(0.0, 10.0 ** random.uniform(6, 11)))
        try:
            plan = checker.plan(JointTrajectory(start_ns, *values), reading, _NOW_NS)
        except Exception as error:  # noqa: BLE001 - that nothing is raised is what is measured
            crashes.append(f"{type(error).__name__}: {error}")
            continue
        if isinstance(plan, Plan):
            taken += 1
            outside += not bool(
                np.isfinite(plan.times).all()
                and (plan.positions >= lower).all()
                and (plan.positions <= upper).all()
                and (np.abs(plan.velocities) <= speed + 1e-6).all()
            )
    return taken, outside, crashes


def inject(options: InjectionOptions) -> Iterator[Outcome]:
    """Fuzz the controller, then the driver's check."""
    fuzzer = Fuzzer(options.seed)
    fuzzer.run(options.repeats * CHUNKS_PER_REPEAT)
    arm, crashes = fuzzer.rig.arm, fuzzer.rig.crashes
    yield Outcome(
        "fuzzed_chunks",
        fuzzer.offered.total(),
        {
            "commands": arm.windows,
            "commands_outside_limits": arm.outside,
            "commands_refused_by_driver": arm.refused,
            "unusable_accepted": sum(fuzzer.accepted[name] for name in UNUSABLE),
            "crashes": len(crashes),
            "accepted": fuzzer.accepted.total(),
            "sound_accepted": fuzzer.sound_accepted,
        },
        {
            "commands_outside_limits": ("==", 0.0),
            "commands_refused_by_driver": ("==", 0.0),
            "unusable_accepted": ("==", 0.0),
            "crashes": ("==", 0.0),
            "sound_accepted": (">", 0.0),
        },
        {
            "offered": dict(fuzzer.offered),
            "accepted": dict(fuzzer.accepted),
            "driver": dict(arm.reasons.most_common(10)),
            "crashes": crashes[:10],
        },
    )
    count = options.repeats * TRAJECTORIES_PER_REPEAT
    taken, outside, crashes = fuzz_trajectories(count, np.random.default_rng(options.seed))
    yield Outcome(
        "fuzzed_trajectories",
        count,
        {"taken": taken, "taken_outside_limits": outside, "crashes": len(crashes)},
        {"taken": (">", 0.0), "taken_outside_limits": ("==", 0.0), "crashes": ("==", 0.0)},
        {"crashes": crashes[:10]},
    )
