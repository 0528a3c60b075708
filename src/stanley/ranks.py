"""Several processes that train one energy: what is split over them, and how they speak with each other.

One process alone is rank 0 of 1: it opens no process group, and nothing here changes what it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stanley.device import pick_device
from stanley.errors import StanleyError, require
from stanley.torchrun import Process, this_process

T = TypeVar("T")

#: How the weights live on the ranks: whole on each, or sharded over them.
Parallel = Literal["ddp", "fsdp"]

#: A rank that is not heard of for this long is taken for lost.
TIMEOUT = timedelta(minutes=10)

CPU = torch.device("cpu")


@dataclass
class Vote:
    """What a rank wants inside an `agreed` block; after it, whether any rank wanted it."""

    stop: bool = False


@dataclass(frozen=True)
class World:
    """The processes of one run, and which of them this is. Every method but `share` and `part` is a meeting: all
    ranks call it in the same order, and it costs one message around. Alone, each does nothing."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this rank writes the files and speaks to people."""
        return self.rank == 0

    def share(self, n: int, name: str) -> int:
        """n / size, the part of `n` that each rank holds."""
        require(
            n % self.size == 0,
            f"{name} is {n}, cannot be split evenly over {self.size} processes; use {n - n % self.size or self.size} "
            f"or {n + self.size - n % self.size}, or another --nproc-per-node",
        )
        return n // self.size

    def part(self, tensor: Tensor) -> Tensor:
        """This rank's rows of what all ranks hold: (n, …) -> (n / size, …), in the order of the ranks."""
        return tensor.tensor_split(self.size)[self.rank]

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the ranks, in place; every rank gets the same bits."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather_rows(self, rows: Tensor) -> Tensor:
        """(n, …) of each rank -> (size·n, …) on rank 0, in the order of the ranks; the others get their own back."""
        if self.size == 1:
            return rows
        rows = rows.cpu().contiguous()
        parts = [torch.empty_like(rows) for _ in range(self.size)] if self.first else None
        dist.gather(rows, parts)
        return rows if parts is None else torch.cat(parts)

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    @contextmanager
    def agreed(self) -> Iterator[Vote]:
        """A block that all ranks leave together: an error on one is raised on all, so that none waits for another.

        The rank that failed raises what it met; the others a StanleyError, of the same class, that says so.
        """
        vote, error = Vote(), None
        if self.size == 1:
            yield vote
            return
        try:
            yield vote
        except Exception as met:
            error = met
        flags = torch.tensor([error is not None, vote.stop], dtype=torch.int32)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        failed, vote.stop = (bool(flag) for flag in flags)
        if failed:
            errors: list[StanleyError | None] = [None] * self.size
            dist.all_gather_object(errors, None if error is None else error_for_others(error, self.rank))
            raise error or next(e for e in errors if e is not None)


def error_for_others(error: Exception, rank: int) -> StanleyError:
    """The error of one rank as the others raise it; what rank 0 meets, it meets for all."""
    if not isinstance(error, StanleyError):
        return StanleyError(f"rank {rank} failed with {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return error if rank == 0 else type(error)(f"rank {rank}: {error}")


@contextmanager
def joined(device: str) -> Iterator[World]:
    """All processes that torchrun started, as long as the block lasts: NCCL between GPUs, gloo between CPUs.

    Every rank computes on `device`; 'cuda', or 'auto' where there are GPUs, is the GPU with its local rank.
    A rank that dies ends the block on the others with a StanleyError.
    """
    process = this_process()
    if process.size == 1:
        yield World(device=pick_device(device))
        return
    require(
        not dist.is_initialized(),
        "a process group is open already; train opens and closes its own, so leave init_process_group out",
    )
    gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise StanleyError(
            f"rank {process.rank} cannot join the other {process.size - 1} processes ({first_line(error)}); "
            "start all of them with torchrun"
        ) from error
    try:
        world = World(process.rank, process.size)
        with world.agreed():
            own = own_device(device, process, gpu)
        yield World(process.rank, process.size, own)
    except RuntimeError as error:
        if not lost_connection(error):
            raise
        raise StanleyError(
            f"rank {process.rank} lost another process ({first_line(error)}); that one's message says why, "
            "and the same command resumes"
        ) from error
    finally:
        leave_group()


#: The group that was left last. Were a model the last to know it, the group would be freed along with the model, while
#: Python holds its lock, and would wait for ever for a thread of its own that wants this lock.
_left: list[object] = []


def leave_group() -> None:
    _left[:] = [dist.group.WORLD]
    dist.destroy_process_group()


def own_device(name: str, process: Process, gpu: bool) -> torch.device:
    if not gpu:
        device = pick_device(name)
        require(device.type == "cpu", f"device {name!r} cannot be shared by {process.size} processes; use cuda or cpu")
        return device
    require(
        name in ("auto", "cuda"),
        f"device is {name!r} for {process.size} processes, each needs a GPU of its own; use --device cuda",
    )
    device = pick_device(f"cuda:{process.local_rank}")
    torch.cuda.set_device(device)
    return device


def lost_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def parallel_model(energy: nn.Module, world: World, parallel: Parallel) -> nn.Module:
    """What a training step calls: the energy, with gradients that are the mean over the ranks.

    ddp    every rank holds all weights; gradients are averaged as the backward pass reaches them
    fsdp   every rank holds 1/size of the weights, gradients and optimiser state; the energy's parameters are replaced

    Alone it is the energy itself. Chains run on the energy, never on this: they want no parameter gradients.
    A backward pass that does not start from a forward pass of this model leaves the ranks with gradients of their own.
    """
    if world.size == 1:
        return energy
    if parallel == "fsdp":
        return sharded(energy, world)
    return DistributedDataParallel(energy, device_ids=[world.device.index] if world.device.type == "cuda" else None)


class Sharded(nn.Module):
    """The energy as one unit whose weights are gathered and given back together.

    The hooks sit on this module, not on the energy: gathered, the energy is a plain module that chains can call.
    """

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x).clone()  # hooks must not sit on a view


def sharded(energy: nn.Module, world: World) -> nn.Module:
    """The energy with every parameter replaced by this rank's shard of it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    energy.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]  # all that fully_shard takes
    model = Sharded(energy)
    fully_shard(model, mesh=init_device_mesh(world.device.type, (world.size,)), reshard_after_forward=False)
    return model


def gather_weights(model: nn.Module) -> None:
    """Whole weights on every rank until the next backward pass has gone through; one message for the K chain steps."""
    if isinstance(model, Sharded):
        model.unshard()  # type: ignore[operator]  # fully_shard's


def unsharded(tensor: Tensor) -> Tensor:
    """The whole of a tensor that is sharded over the ranks (a meeting of all), any other as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def sharded_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor sharded as `other` is, if it is, or in the order of memory that `other` has."""
    if not is_sharded(other):
        return torch.empty_like(other, dtype=tensor.dtype).copy_(tensor)
    from torch.distributed.tensor import distribute_tensor

    where: Any = other
    return distribute_tensor(tensor.to(other.device), where.device_mesh, where.placements)


def is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")
