"""Train a peer: python -m vipa_training.evaluation.peers.train_peer act --dataset data/all --out runs/act."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vipa_training.data.errors import DatasetError
from vipa_training.evaluation.peers.note import IMAGES, KINDS, STATE, PeerError, PeerNote

if TYPE_CHECKING:
    from vipa_training.evaluation.peers.models import Peer


@dataclass(frozen=True)
class PeerTraining:
    """How a peer is trained.

    Raises:
        ValueError: a number is out of range; the message names it.
    """

    kind: str
    dataset: Path
    out: Path
    steps: int = 20_000
    warm_up: int = 3  # steps that do not count as measured
    batch: int = 32
    rate: float = 1e-4
    workers: int = 1
    seed: int = 0
    image_size: int | None = None  # px, the longer side of what it sees; None: as in the dataset
    horizon: int = 16
    step_period: float = 0.05  # s
    cameras: tuple[str, ...] = ()  # none: all of the dataset
    device: str = "cpu"
    video_backend: str = "pyav"

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("horizon", 1), ("warm_up", 0), ("workers", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is less than {least}")
        if self.steps <= self.warm_up:
            raise ValueError(f"steps: {self.steps} are not more than the {self.warm_up} that do not count")
        if self.image_size is not None and self.image_size < 32:
            raise ValueError(f"image_size: {self.image_size} px is less than 32")


def train(config: PeerTraining) -> dict[str, Any]:
    """Train a peer and save it.

    Returns:
        What is written as JSON, in the form of ``vipa.result``.

    Raises:
        PeerError, DatasetError: something is wrong; the message says what, in one line.
        ModuleNotFoundError: this is not LeRobot's environment.
    """
    import lerobot
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import DataLoader

    from vipa_training.data.reader import Dataset
    from vipa_training.evaluation.peers.models import new_peer
    from vipa_training.evaluation.peers.samples import PeerSamples, read_chunks, usable

    torch.manual_seed(config.seed)
    with Dataset(config.dataset) as dataset:
        note = _note(config, dataset.layout.cameras, dataset.tasks)
        stats = dataset.statistics()
    chunks = read_chunks(config.dataset, note.horizon, note.step_period)
    if len(chunks.actions) < config.batch:
        raise PeerError(f"batch: {config.batch} is more than the {len(chunks.actions)} rows of {config.dataset}")
    items = LeRobotDataset("vipa/demonstrations", root=config.dataset, video_backend=config.video_backend)
    wanted = [STATE, *(f"{IMAGES}{name}" for name in note.cameras)]
    peer = new_peer(
        note,
        {**{key: usable(stats[key]) for key in wanted}, "action": chunks.statistics()},
        config.rate,
        config.device,
        config.out,
    )
    loader = DataLoader(
        PeerSamples(items, chunks, note),  # pyright: ignore[reportArgumentType] - a DataLoader reads any sequence
        config.batch,
        shuffle=True,
        drop_last=True,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        generator=torch.Generator().manual_seed(config.seed),
    )
    start = time.perf_counter()
    measured = _loop(peer, loader, config)
    duration = time.perf_counter() - start
    config.out.mkdir(parents=True, exist_ok=True)
    peer.save(config.out)
    note.write(config.out)
    counts = [(p.numel(), p.requires_grad) for p in peer.policy.parameters()]
    counted = measured[config.warm_up :]
    figures = {
        "samples_per_s": statistics.median(config.batch / step.duration for step in counted),
        "data_wait_share": statistics.mean(step.waited / step.duration for step in counted),
        "parameters": sum(count for count, _ in counts),
        "learning_parameters": sum(count for count, learns in counts if learns),
        "first_loss": measured[0].loss,
        "last_loss": measured[-1].loss,
        "training_s": duration,
    }
    details = {
        "lerobot": lerobot.__version__,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "device": config.device,
        "video_backend": config.video_backend,
        "image_size": list(note.image_size),
        "batch": config.batch,
        "steps": config.steps,
        "workers": config.workers,
        "seed": config.seed,
    }
    return {"command": f"train_peer {config.kind}", "ok": True, "figures": figures, "bounds": {}, "details": details}


@dataclass(frozen=True)
class _Step:
    duration: float  # s
    waited: float  # s, for data
    loss: float


def _loop(peer: "Peer", loader: Any, config: PeerTraining) -> list[_Step]:
    """LeRobot's optimiser, its schedule and its limit of the gradients, one step after the other."""
    import torch

    policy, preset = peer.policy, peer.policy.config.get_optimizer_preset()
    optimiser = preset.build(policy.get_optim_params())
    scheduled = policy.config.get_scheduler_preset()
    schedule = None if scheduled is None else scheduled.build(optimiser, config.steps)
    policy.train()
    steps: list[_Step] = []
    stream = _endless(loader)
    for number in range(config.steps):
        start = time.perf_counter()
        batch = next(stream)
        waited = time.perf_counter() - start
        loss, _ = policy.forward(peer.before(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), preset.grad_clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        if schedule is not None:
            schedule.step()
        value = loss.item()
        if not value < float("inf"):
            raise PeerError(f"peer {config.kind}: the loss is {value} at step {number + 1}. Try a smaller --rate")
        steps.append(_Step(time.perf_counter() - start, waited, value))
        if (number + 1) % 100 == 0:
            print(f"step {number + 1} of {config.steps}: loss {value:.4f}", file=sys.stderr, flush=True)
    return steps


def _endless(loader: Any) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


def _note(config: PeerTraining, cameras: dict[str, tuple[int, int]], tasks: Sequence[str]) -> PeerNote:
    wanted = config.cameras or tuple(cameras)
    for name in wanted:
        if name not in cameras:
            raise PeerError(f"dataset {config.dataset}: has no camera {name}, but {', '.join(cameras) or 'none'}")
    sizes = {cameras[name] for name in wanted}
    if len(sizes) != 1:
        raise PeerError(f"dataset {config.dataset}: {', '.join(wanted)}: a peer wants one or more cameras of one size")
    height, width = sizes.pop()
    scale = 1.0 if config.image_size is None else config.image_size / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return PeerNote(config.kind, wanted, size, config.horizon, config.step_period, tuple(tasks), config.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train_peer", description="Train a policy of LeRobot's on VIPA's data")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--dataset", type=Path, required=True, help="LeRobotDataset v3.0, written by VIPA")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained peer")
    parser.add_argument("--json", type=Path, help="where the figures go (default: result.json in --out)")
    parser.add_argument("--steps", type=int, default=PeerTraining.steps)
    parser.add_argument("--warm-up", type=int, default=PeerTraining.warm_up, help="steps that are not measured")
    parser.add_argument("--batch", type=int, default=PeerTraining.batch)
    parser.add_argument("--rate", type=float, default=PeerTraining.rate, help="learning rate")
    parser.add_argument("--workers", type=int, default=PeerTraining.workers, help="processes that read data")
    parser.add_argument("--seed", type=int, default=PeerTraining.seed)
    parser.add_argument("--image-size", type=int, help="px, the longer side (default: as in the dataset)")
    parser.add_argument("--horizon", type=int, default=PeerTraining.horizon, help="actions of a chunk")
    parser.add_argument("--step-period", type=float, default=PeerTraining.step_period, help="s between two of them")
    parser.add_argument("--cameras", nargs="+", default=(), help="default: all of the dataset")
    parser.add_argument("--device", default=PeerTraining.device, choices=("cpu", "cuda"))
    parser.add_argument("--video-backend", default=PeerTraining.video_backend, choices=("pyav", "torchcodec"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and write the figures; 1 where that is not possible, with one line on standard error."""
    options = vars(_parser().parse_args(arguments))
    target, options["cameras"] = options.pop("json"), tuple(options["cameras"])
    try:
        config = PeerTraining(**options)
        result = train(config)
    except ModuleNotFoundError as error:
        print(
            f"train_peer: the package {error.name} is missing; run it in the environment of the README", file=sys.stderr
        )
        return 1
    except (PeerError, DatasetError, ValueError) as error:
        print(f"train_peer: {error}", file=sys.stderr)
        return 1
    path = target or config.out / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{config.kind}: {result['figures']['samples_per_s']:.1f} samples/s; {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
