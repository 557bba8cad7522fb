"""The loop: batches in, weights out, and what is needed to go on after every cut."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vipa_inference.policy import PolicyError
from vipa_training.engine.config import EngineConfig
from vipa_training.engine.distributed import (
    World,
    average_numbers,
    reduce_gradients,
    shard,
    tensors_of,
    whole,
)
from vipa_training.engine.ema import MovingAverage
from vipa_training.engine.errors import TrainingError
from vipa_training.engine.loader import COUNT, Batch, Samples, batches
from vipa_training.engine.metrics import Metrics, Record
from vipa_training.engine.order import Order, torch_generator
from vipa_training.engine.state import StateFolder
from vipa_training.stages.optimisation import OptimisationConfig, Optimiser, ParameterGroup

STATE = "state"


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        model: whole, on the CPU; parameters that rest require no gradient.
        groups: of the parameters that learn; asked for when the model is on its device and spread.
        optimisation: how they learn.
        samples: what is learned from.
        loss: mean loss () of a batch; calls methods of the model that are in ``methods`` only.
        save: writes a checkpoint of these tensors of the model; called in one process only.
        methods: of the model, that compute.
        blocks: parts of the model to be spread by themselves, see ``distributed.shard``.
        errors: what reading samples may raise.
    """

    model: nn.Module
    groups: Callable[[], Sequence[ParameterGroup]]
    optimisation: OptimisationConfig
    samples: Samples
    loss: Callable[[Batch], Tensor]
    save: Callable[[dict[str, Tensor]], None]
    methods: Sequence[str]
    blocks: Sequence[nn.Module] = ()
    errors: tuple[type[Exception], ...] = (PolicyError, OSError)


@dataclass
class _Interval:
    """What happened since the last record."""

    steps: int = 0
    loss: float = 0.0
    waited: float = 0.0
    begin: float = field(default_factory=time.perf_counter)


class Loop:
    """One training, in one of its processes.

    Args:
        task: what is trained.
        config: how.
        folder: of the training.
        world: the processes.
        title: of the page with the figures.

    Raises:
        TrainingError: the batch cannot be shared evenly, or the state that is there cannot be read.
    """

    def __init__(self, task: Task, config: EngineConfig, folder: Path, world: World, title: str = "Training") -> None:
        if config.batch % (config.accumulation * world.processes):
            raise TrainingError(
                f"engine.batch: {config.batch} cannot be shared by {world.processes} processes in "
                f"{config.accumulation} parts each"
            )
        self.task, self.config, self.world, self._title = task, config, world, title
        self._half = config.precision == "bf16"
        self._model = task.model.to(world.device)
        shard(self._model, world, task.blocks, task.methods, torch.bfloat16 if self._half else torch.float32)
        self._optimiser = Optimiser(task.groups(), task.optimisation)
        learning = {id(p) for group in self._optimiser.groups for p in group.parameters}
        self._learning = {name: p for name, p in self._model.named_parameters() if id(p) in learning}
        self._average = MovingAverage(self._learning, config.ema) if config.ema else None
        self._states = StateFolder(folder / STATE, world)
        self.first_step = self._states.read(self._state())
        self._optimiser.steps_done = self.first_step
        self._metrics = Metrics(folder, self.first_step) if world.is_first else None

    @property
    def records(self) -> list[Record]:
        """The figures so far; none in other processes than the first."""
        return self._metrics.records if self._metrics else []

    def run(self, show_progress: bool = False) -> None:
        """Train to the last step.

        Raises:
            TrainingError: the gradients are not finite, or a file cannot be written.
            Exception: what reading samples raised.
        """
        config, steps, first = self.config, self.task.optimisation.steps, self.first_step
        if first >= steps:
            self._export()  # the last run may have been cut off just before
            return
        self._model.train()
        with tqdm(
            total=steps, initial=first, unit="step", leave=False, disable=not (show_progress and self.world.is_first)
        ) as bar:
            stream = self._batches()
            interval = _Interval()
            for step in range(first, steps):
                start = time.perf_counter()
                parts = [next(stream) for _ in range(config.accumulation)]
                interval.waited += time.perf_counter() - start
                loss, norms = self._step(step, parts)
                interval.steps, interval.loss = interval.steps + 1, interval.loss + loss
                done = step + 1
                is_saved = done % config.save_every == 0 or done == steps
                if is_saved or done % config.log_every == 0:
                    self._record(done, interval, norms)
                    bar.set_postfix(loss=f"{interval.loss / interval.steps:.4f}", refresh=False)
                    interval = _Interval()
                if is_saved:
                    self._states.write(done, self._state())
                    self._export()
                    interval.begin = time.perf_counter()
                bar.update()

    def _batches(self) -> Iterator[Batch]:
        config, world, task = self.config, self.world, self.task
        order = Order(len(task.samples), config.seed)
        positions = order.positions(
            config.batch, self.first_step, task.optimisation.steps, world.rank, world.processes, config.accumulation
        )
        return batches(task.samples, order, positions, config.workers, world.device.type == "cuda", task.errors)

    def _step(self, step: int, parts: Sequence[Batch]) -> tuple[float, dict[str, float]]:
        """One step; the loss of the whole batch, and the norms of the gradients."""
        world = self.world
        torch.manual_seed(torch_generator(self.config.seed, step, world.rank).initial_seed())
        counts = torch.stack([part[COUNT] for part in parts]).to(world.device, torch.float32)
        total = world.sum(counts.sum()).clamp(min=1.0)
        loss = torch.zeros((), device=world.device)
        self._optimiser.clear()
        for number, (part, count) in enumerate(zip(parts, counts, strict=True), start=1):
            reduce_gradients(self._model, now=number == len(parts))
            batch = {name: tensor.to(world.device, non_blocking=True) for name, tensor in part.items()}
            with torch.autocast(world.device.type, torch.bfloat16, enabled=self._half):
                mean = self.task.loss(batch)
            (mean * (count * world.processes / total)).backward()
            loss += mean.detach() * count / total
        average_numbers(self._model, world)
        try:
            norms = self._optimiser.update()
        except FloatingPointError as error:
            raise TrainingError(str(error)) from None
        if self._average is not None:
            self._average.update(self._learning, step)
        return float(world.sum(loss)), norms

    def _record(self, done: int, interval: _Interval, norms: dict[str, float]) -> None:
        if self._metrics is None:
            return
        seconds = max(time.perf_counter() - interval.begin, 1e-9)
        record: Record = {"step": float(done), "loss": interval.loss / interval.steps}
        record |= {f"gradient_norm_{name}": norm for name, norm in norms.items()}
        record |= {f"learning_rate_{name}": rate for name, rate in self._optimiser.learning_rates().items()}
        record["samples_per_s"] = interval.steps * self.config.batch / seconds
        record["data_wait_share"] = interval.waited / seconds
        self._metrics.add(record)

    def _state(self) -> dict[str, Tensor]:
        """All that changes: to be written, or to be filled."""
        names = {id(parameter): name for name, parameter in self._learning.items()}
        found: dict[str, Tensor] = {f"model.{name}": p.detach() for name, p in self._learning.items()}
        found |= {f"adamw.{name}": tensor for name, tensor in self._optimiser.tensors(names).items()}
        if self._average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self._average.tensors.items()}
        return found

    def _export(self) -> None:
        """Write the checkpoint and the page."""
        average = self._average.tensors if self._average is not None else {}
        tensors: dict[str, Tensor] = {}
        for name, tensor in tensors_of(self._model).items():
            gathered = whole(average.get(name, tensor).detach())
            if self.world.is_first:
                tensors[name] = gathered.cpu()
        if self._metrics is not None:
            self.task.save(tensors)
            self._metrics.draw(self._title)
        self.world.wait()
