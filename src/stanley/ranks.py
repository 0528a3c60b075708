"""Several processes that train one energy: what is split over them, and how they communicate.

One process alone is rank 0 of 1. It opens no process group, and nothing here changes what it
computes.
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

#: A rank that does not answer for this long counts as lost.
TIMEOUT = timedelta(minutes=10)

CPU = torch.device("cpu")


@dataclass
class Vote:
    """What this rank wants inside an `agreed` block; after it, whether any rank wanted it."""

    stop: bool = False


@dataclass(frozen=True)
class World:
    """The processes of one run, and which of them this is.

    Every method but `share` and `part` is collective: all ranks call it, in the same order, and it
    costs a message from each to each. With one process none of them does anything.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone writes files and prints."""
        return self.rank == 0

    def share(self, n: int, name: str) -> int:
        """n / size, the number of each rank; raises StanleyError where that is a fraction."""
        require(
            n % self.size == 0,
            f"{name} is {n}, which cannot be split evenly over {self.size} processes; "
            f"use {n - n % self.size or self.size} or {n + self.size - n % self.size}, "
            "or another --nproc-per-node",
        )
        return n // self.size

    def part(self, tensor: Tensor) -> Tensor:
        """This rank's rows of a tensor that all ranks have: (n, …) -> (n / size, …)."""
        return tensor.tensor_split(self.size)[self.rank]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks, in place; every rank gets the same bits."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather_rows(self, rows: Tensor) -> Tensor:
        """(n, …) of each rank -> (size·n, …) on rank 0, in the order of the ranks.

        The other ranks get their own rows back.
        """
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
        """A block that all ranks leave together, with an error on all if there was one on any.

        So none waits for a rank that failed. That rank raises its own error; the others raise a
        StanleyError (of the same class, if it was one) that names the rank.
        """
        vote, error = Vote(), None
        if self.size == 1:
            yield vote
            return
        try:
            yield vote
        except Exception as raised:
            error = raised
        flags = torch.tensor([error is not None, vote.stop], dtype=torch.int32)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        failed, vote.stop = (bool(flag) for flag in flags)
        if failed:
            errors: list[StanleyError | None] = [None] * self.size
            own = None if error is None else error_for_others(error, self.rank)
            dist.all_gather_object(errors, own)
            raise error or next(e for e in errors if e is not None)


def error_for_others(error: Exception, rank: int) -> StanleyError:
    """The error of one rank as the others raise it. That of rank 0 is taken for one of all."""
    if not isinstance(error, StanleyError):
        message = " ".join(str(error).split())[:300]
        return StanleyError(f"rank {rank} failed with {type(error).__name__}: {message}")
    return error if rank == 0 else type(error)(f"rank {rank}: {error}")


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Connect the processes that torchrun started, for the length of the block.

    GPUs communicate through NCCL, CPUs through gloo. Every rank computes on `device`; 'cuda', or
    'auto' where there are GPUs, is the GPU with its local rank. If a rank dies, the block ends on
    the others with a StanleyError.
    """
    process = this_process()
    if process.size == 1:
        yield World(device=pick_device(device))
        return
    require(
        not dist.is_initialized(),
        "a process group is already open, but training opens and closes one of its own; "
        "remove the call of init_process_group",
    )
    gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise StanleyError(
            f"rank {process.rank} cannot join the other {process.size - 1} processes "
            f"({first_line(error)}); start all of them with torchrun"
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
            f"rank {process.rank} lost another process ({first_line(error)}), whose own message "
            "says why; the same command resumes the run"
        ) from error
    finally:
        leave_group()


#: Keeps alive the group that was left last. If a model held the last reference to it, freeing the
#: model would free the group while Python holds its global lock, and the group would wait for ever
#: for a thread of its own that needs this lock.
_left: list[object] = []


def leave_group() -> None:
    _left[:] = [dist.group.WORLD]
    dist.destroy_process_group()


def own_device(name: str, process: Process, gpu: bool) -> torch.device:
    if not gpu:
        device = pick_device(name)
        require(
            device.type == "cpu",
            f"device {name!r} cannot be shared by {process.size} processes; use cuda or cpu",
        )
        return device
    require(
        name in ("auto", "cuda"),
        f"device is {name!r}, but each of the {process.size} processes needs a GPU of its own; use"
        " --device cuda",
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
    fsdp   every rank holds 1/size of the weights, gradients and optimiser state; the energy's
           parameters are replaced

    With one process it is the energy itself. Chains run on the energy, never on this model, because
    they need no parameter gradients. Not true: that a backward pass averages whatever it started
    from. If it does not start from a forward pass of this model, each rank keeps its own gradients.
    """
    if world.size == 1:
        return energy
    if parallel == "fsdp":
        return sharded(energy, world)
    gpu = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(energy, device_ids=gpu)


class Sharded(nn.Module):
    """An energy whose weights are gathered from the ranks, and freed again, all together.

    The hooks sit on this module and not on the energy, so that chains can call the energy as an
    ordinary module while the weights are gathered.
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

    # fully_shard takes no other memory format
    energy.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    model = Sharded(energy)
    mesh = init_device_mesh(world.device.type, (world.size,))
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    return model


def gather_weights(model: nn.Module) -> None:
    """Gather sharded weights until the next backward pass: once for all K chain steps."""
    if isinstance(model, Sharded):
        model.unshard()  # type: ignore[operator]  # fully_shard's


def unsharded(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all ranks (which all call this) if it is sharded over them."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def sharded_like(tensor: Tensor, other: Tensor) -> Tensor:
    """The tensor sharded as `other` is, or with the memory layout of `other` where it is not."""
    if not is_sharded(other):
        return torch.empty_like(other, dtype=tensor.dtype).copy_(tensor)
    from torch.distributed.tensor import distribute_tensor

    like: Any = other
    return distribute_tensor(tensor.to(other.device), like.device_mesh, like.placements)


def is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")
