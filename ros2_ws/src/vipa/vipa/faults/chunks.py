"""Chunks that no policy should send, on the topic of the policy's chunks, between its own, while the arm moves."""

import random as random_module
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from vipa.control.gate import GateConfig
from vipa.faults.camera import limit_violations
from vipa.faults.cell import RunningCell, wait_for_motion
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound
from vipa_inference.policy import ActionChunk

BOUNDS: dict[str, Bound] = {
    "reached_a_driver": ("==", 0.0),
    "not_refused": ("==", 0.0),
    "driver_refusals": ("==", 0.0),
    "limit_violations": ("==", 0.0),
    "good_chunks": (">=", 1.0),
}
_FIRST_ID = 1 << 40  # no policy counts so far
_PER_REPEAT = 200  # of each kind
_BURST = 4  # between two looks: the controller's queue holds ten
_SETTLE_S = 0.5
_PATIENCE_S = 5.0

Spoiled = tuple[ActionChunk, dict[str, Any]]  # a chunk, and the fields of its message that are changed


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """One outcome for each kind of spoiled chunk."""
    random = options.random("chunks")
    chunk_id = _FIRST_ID
    for kind, spoil in KINDS.items():
        refused = reached = good = sent = 0
        cell.request("reset_statistics")
        refused_before = cell.seen.driver_refusals
        for _ in range(options.repeats):
            wait_for_motion(cell, random.uniform(0.1, 1.0))
            first_id, begun_ns = chunk_id, cell.now_ns()
            for k in range(_PER_REPEAT):
                chunk, fields = spoil(replace(newest(cell), chunk_id=chunk_id), random, cell.lab.control.gate)
                cell.publish(chunk, **fields)
                chunk_id += 1
                if k % _BURST == _BURST - 1:
                    cell.wait(0.01)
            cell.wait(_SETTLE_S)
            sent += _PER_REPEAT
            ids = range(first_id, chunk_id)
            refused += len({refusal[0] for refusal in cell.seen.refusals} & set(ids))
            taken = {p.chunk_id for p in cell.seen.plans if p.chunk_id is not None and p.time_ns > begun_ns}
            reached += len((taken | cell.seen.executed) & set(ids))
            good += len(taken - set(ids))
        figures = {
            "reached_a_driver": float(reached),
            "not_refused": float(sent - refused),
            "driver_refusals": float(cell.seen.driver_refusals - refused_before),
            "limit_violations": limit_violations(cell),
            "good_chunks": float(good),
        }
        yield Outcome(f"chunks_{kind}", sent, figures, BOUNDS)


def newest(cell: RunningCell) -> ActionChunk:
    """The newest chunk of the policy.

    Raises:
        VipaError: there is none.
    """

    def ids() -> list[int]:
        return [chunk_id for chunk_id in cell.seen.chunks if chunk_id < _FIRST_ID]

    cell.wait_until(lambda: bool(ids()), _PATIENCE_S, "a chunk of the policy")
    return cell.seen.chunks[max(ids())]


def _not_finite(value: float) -> Callable[[ActionChunk, random_module.Random, GateConfig], Spoiled]:
    def spoil(chunk: ActionChunk, random: random_module.Random, gate: GateConfig) -> Spoiled:
        actions = chunk.actions.copy()
        for _ in range(random.choice((1, 3, actions.size))):
            actions[random.randrange(actions.shape[0]), random.randrange(actions.shape[1])] = value
        return replace(chunk, actions=actions), {}

    return spoil


def _misshapen(chunk: ActionChunk, random: random_module.Random, gate: GateConfig) -> Spoiled:
    rows, columns = chunk.actions.shape
    longer = np.zeros((gate.max_horizon + 1, columns))
    return random.choice(
        (
            (replace(chunk, actions=chunk.actions[:, : columns - 1]), {}),
            (replace(chunk, actions=np.zeros((rows, columns + 1))), {}),
            (replace(chunk, actions=longer), {}),
            (chunk, {"horizon": rows + 1}),
            (chunk, {"horizon": 0}),
            (chunk, {"dimension": 0}),
            (chunk, {"actions": []}),
            (chunk, {"step_period": float("nan")}),
        )
    )


def _tenfold(chunk: ActionChunk, random: random_module.Random, gate: GateConfig) -> Spoiled:
    """From some row on ten times as far away as one step may be, be it in translation or rotation."""
    actions = chunk.actions.copy()
    row = random.randrange(len(actions))
    part, cap = random.choice(((slice(0, 3), gate.step_translation), (slice(3, 6), gate.step_rotation)))
    direction = np.array([random.gauss(0.0, 1.0) for _ in range(3)])
    actions[row:, part] += 10.0 * cap * direction / np.linalg.norm(direction)
    return replace(chunk, actions=actions), {}


def _old(chunk: ActionChunk, random: random_module.Random, gate: GateConfig) -> Spoiled:
    """From an observation beyond the age limit, by little or by much."""
    late_ns = round((gate.chunk_age_limit_s + 10.0 ** random.uniform(-2.0, 2.0)) * 1e9)
    exposures = {name: stamp - late_ns for name, stamp in chunk.exposures_ns.items()}
    return replace(chunk, observation_ns=chunk.observation_ns - late_ns, exposures_ns=exposures), {}


KINDS: dict[str, Callable[[ActionChunk, random_module.Random, GateConfig], Spoiled]] = {
    "nan": _not_finite(float("nan")),
    "inf": _not_finite(float("inf")),
    "shape": _misshapen,
    "tenfold": _tenfold,
    "old": _old,
}
