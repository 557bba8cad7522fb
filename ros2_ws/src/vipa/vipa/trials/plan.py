"""Which policy meets which layout, and when: trials in random order, interleaved, under blinded labels, from a seed."""

import dataclasses
import hashlib
import itertools
import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.trials.journal import write_durably

LABELS = string.ascii_uppercase


@dataclass(frozen=True)
class PolicyChoice:
    """A policy under test."""

    title: str  # in the report
    policy: str  # its name in the registry
    options: str = ""  # of its configuration, as vipa.policy_options reads them


@dataclass(frozen=True)
class Design:
    """What is declared before the first trial, so that nothing can be chosen after the results are seen.

    Every policy meets the same ``layouts`` placements (seeds ``seed``, ``seed`` + 1, ...) in every variant.
    """

    task: str
    layouts: int = 10
    variants: tuple[str, ...] = ("seen",)
    seed: int = 0  # of the first layout, and of the order
    layouts_per_block: int = 1  # met by one policy before the next one takes over; more means fewer restarts
    instruction: str = ""  # empty: the task's own
    time_limit: float = 0.0  # s; 0: the task's own
    aborted: Literal["failure", "repeat"] = "failure"  # an aborted trial fails, or is run again
    attempts: int = 3  # with "repeat": an abort of the last one is a failure
    level: float = 0.05  # of all sequential tests together
    threshold: float | None = None  # whole-task success that each policy is tested against
    stop_early: bool = False  # end as soon as every sequential test has decided

    def __post_init__(self) -> None:
        for name, value in (("layouts", self.layouts), ("layouts_per_block", self.layouts_per_block)):
            if value < 1:
                raise ValueError(f"{name}: {value} is not at least 1")
        if self.attempts < 1:
            raise ValueError(f"attempts: {self.attempts} is not at least 1")
        if not self.variants or len(set(self.variants)) < len(self.variants):
            raise ValueError(f"variants: {', '.join(self.variants) or 'none'}: name each once, at least one")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: {self.seed} is not between 0 and 2^63")
        if not 0.0 <= self.time_limit < float("inf"):
            raise ValueError(f"time_limit: {self.time_limit} is no number of seconds")
        if not 0.0 < self.level < 1.0:
            raise ValueError(f"level: {self.level} is not between 0 and 1")
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold: {self.threshold} is not between 0 and 1")


@dataclass(frozen=True)
class PlannedTrial:
    """One trial to be run."""

    number: int  # from 1, in the order of the plan
    block: int  # from 1
    run: int  # from 1: consecutive trials of one policy, between which the graph need not be restarted
    label: str
    variant: str
    seed: int


@dataclass(frozen=True)
class Plan:
    """All trials in their order. It names policies by their labels only, so that an operator may read it."""

    design: Design
    labels: tuple[str, ...]
    trials: tuple[PlannedTrial, ...]
    key_hash: str  # of the key that belongs to this plan

    def to_json(self) -> str:
        """Readable JSON: the design, then one trial a line."""
        content = dataclasses.asdict(self)
        rows = ",\n    ".join(json.dumps(row) for row in content.pop("trials"))
        head = json.dumps(content, indent=2, ensure_ascii=False)[:-2]
        return f'{head},\n  "trials": [\n    {rows}\n  ]\n}}\n'


@dataclass(frozen=True)
class Key:
    """Which policy hides behind which label."""

    policies: dict[str, PolicyChoice]

    def to_json(self) -> str:
        """Readable JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @property
    def hash(self) -> str:
        """SHA-256 of its JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def make_plan(design: Design, policies: Sequence[PolicyChoice]) -> tuple[Plan, Key]:
    """Draw the order and the labels; the same arguments give the same plan.

    A block is a variant with ``layouts_per_block`` layouts, which every policy meets in the same order. Blocks of all
    variants alternate: each round holds one of each, in random order. Within a variant, as many successive blocks as
    there are policies form a group in which each policy comes first once, second once, and so on: a random order and
    its rotations, shuffled. Thus neither time of day nor position favours a policy.

    Raises:
        ValueError: no policy, too many, or two with the same title.
    """
    titles = [choice.title for choice in policies]
    if not 1 <= len(policies) <= len(LABELS) or len(set(titles)) < len(titles):
        raise ValueError(f"policies: {', '.join(titles) or 'none'}: name 1 to {len(LABELS)} policies, each once")
    labels = tuple(LABELS[: len(policies)])
    hidden = random.Random(f"labels {design.seed}").sample(list(policies), len(policies))
    key = Key(dict(zip(labels, hidden, strict=True)))
    trials = _number(_draw(design, labels, random.Random(f"order {design.seed}")))
    return Plan(design, labels, trials, key.hash), key


def write_plan(folder: Path, plan: Plan, key: Key) -> None:
    """Write ``plan.json`` and ``key.json``; the plan last, so that a folder with a plan has its key.

    Raises:
        VipaError: a file cannot be written.
    """
    write_durably(folder / "key.json", key.to_json())
    write_durably(folder / "plan.json", plan.to_json())


def read_plan(folder: Path) -> Plan:
    """Read ``plan.json``.

    Raises:
        ConfigurationError: it is missing or cannot be used; the message names the key.
    """
    return _read(folder / "plan.json", Plan)


def read_key(folder: Path, plan: Plan) -> Key:
    """Read ``key.json``.

    Raises:
        ConfigurationError: it is missing, cannot be used, or belongs to another plan.
    """
    key = _read(folder / "key.json", Key)
    if key.hash != plan.key_hash:
        raise ConfigurationError(f"{folder / 'key.json'}: not the key of this plan. Put the plan's own key here")
    return key


def _draw(
    design: Design, labels: tuple[str, ...], rng: random.Random
) -> list[tuple[int, str, str, int]]:  # block, label, variant, seed
    seeds = list(range(design.seed, design.seed + design.layouts))
    groups: dict[str, list[tuple[str, ...]]] = {variant: [] for variant in design.variants}
    rows: list[tuple[int, str, str, int]] = []
    block = 0
    for start in range(0, design.layouts, design.layouts_per_block):
        for variant in rng.sample(design.variants, len(design.variants)):
            block += 1
            if not groups[variant]:
                groups[variant] = _rotations(labels, rng)
            layouts = seeds[start : start + design.layouts_per_block]
            rng.shuffle(layouts)
            rows += [(block, label, variant, seed) for label in groups[variant].pop() for seed in layouts]
    return rows


def _rotations(labels: tuple[str, ...], rng: random.Random) -> list[tuple[str, ...]]:
    order = tuple(rng.sample(labels, len(labels)))
    rotations = [order[shift:] + order[:shift] for shift in range(len(order))]
    rng.shuffle(rotations)
    return rotations


def _number(rows: list[tuple[int, str, str, int]]) -> tuple[PlannedTrial, ...]:
    runs = [run for run, (_, group) in enumerate(itertools.groupby(rows, key=lambda row: row[1]), 1) for _ in group]
    return tuple(
        PlannedTrial(number, block, run, label, variant, seed)
        for number, (run, (block, label, variant, seed)) in enumerate(zip(runs, rows, strict=True), 1)
    )


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return from_mapping(kind, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file. Name the folder that vipa trial --out made") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
