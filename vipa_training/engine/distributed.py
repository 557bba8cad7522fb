"""One process, or many that ``torchrun`` started and that share the model with FSDP2."""

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from vipa_training.engine.errors import TrainingError


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        rank: of this one.
        processes: how many there are.
        device: of this one.
    """

    rank: int
    processes: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a value of all processes."""
        if self.processes > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until all processes are here."""
        if self.processes > 1:
            dist.barrier()

    def shared(self, value: str) -> str:
        """What the first process says."""
        values = [value]
        if self.processes > 1:
            dist.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def joined(device: str) -> Generator[World, None, None]:
    """Join the processes that ``torchrun`` started, if it did.

    Raises:
        TrainingError: there is no GPU, but one is wanted.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise TrainingError("engine.device: cuda is wanted, but torch finds no GPU. Say cpu, or install a driver")
    kind = "cuda" if has_cuda and device != "cpu" else "cpu"
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    place = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(place)
    if processes == 1:
        yield World(0, 1, place)
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield World(rank, processes, place)
    finally:
        dist.destroy_process_group()


def shard(
    model: nn.Module, world: World, blocks: Iterable[nn.Module], methods: Sequence[str], precision: torch.dtype
) -> None:
    """Spread a model over all processes, but for single numbers, which FSDP2 cannot split; alone, it stays whole.

    Args:
        model: on its device, the same in all processes.
        world: the processes.
        blocks: parts whose weights are gathered only while they compute; called by ``forward`` only.
        methods: of the model, that compute.
        precision: in which weights are gathered.
    """
    if world.processes == 1:
        return
    mesh = init_device_mesh(world.device.type, (world.processes,))
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    numbers = {parameter for parameter in model.parameters() if not parameter.dim()}
    fully_shard(model, mesh=mesh, mp_policy=policy, ignored_params=numbers)
    for method in methods:
        register_fsdp_forward_method(model, method)


def average_numbers(model: nn.Module, world: World) -> None:
    """Average over the processes the gradients that FSDP2 does not."""
    if world.processes == 1:
        return
    for parameter in model.parameters():
        if not isinstance(parameter, DTensor) and parameter.grad is not None:
            world.sum(parameter.grad).div_(world.processes)


def reduce_gradients(model: nn.Module, now: bool) -> None:
    """Whether the next backward pass shares its gradients, as the last part of a step must."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts of all processes; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and persistent buffer of a model under the first of its names."""
    names: dict[int, str] = {}
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if names.setdefault(id(tensor), name) == name:
            found[name] = tensor
    return found
