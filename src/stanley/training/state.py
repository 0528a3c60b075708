"""What training changes from step to step, and how it is saved and restored."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from stanley.config import as_named_at, to_dict
from stanley.data import Dataset
from stanley.data.standardisation import Standardisation
from stanley.errors import StanleyError, in_one_line, require
from stanley.networks import build_energy, given
from stanley.networks.levels import level_energy
from stanley.ranks import Parallel, World, parallel_model, sharded, unsharded
from stanley.runs import checkpoint
from stanley.runs.checkpoint import Checkpoint
from stanley.samplers.execution import Execution
from stanley.streams import stream
from stanley.training.bank import Bank, StartNoise
from stanley.training.config import TrainConfig
from stanley.training.frozen import Frozen


class TrainState:
    """What a training step changes, and therefore what a checkpoint holds.

    Each rank has its own chains and its own part of the bank; weights, data order and step sizes
    are the same on all.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        world: World,
        parallel: Parallel = "ddp",
        execution: Execution = "auto",
        own: nn.Module | None = None,
        written: dict[str, Any] | None = None,
    ) -> None:
        chains = config.objective.contrastive
        if chains is not None and chains.augment is not None:
            try:
                chains.augment.check(data)
            except StanleyError as error:
                raise StanleyError(as_named_at(config.chains_at, str(error))) from error
        # sharded weights lie elsewhere in every iteration, so no graph may hold them
        self.execution: Execution = "eager" if parallel == "fsdp" else execution
        energy = build_energy(
            config.network,
            data.event_shape,
            seed=config.seed,
            reference_std=config.reference_std,
            own=own,
        )
        if own is not None:  # whose first weights no seed decides
            energy.load_state_dict(world.broadcast(energy.state_dict()))
        levels = level_energy(energy)
        if levels is not None:
            levels.fit_data(data)
        # a copy of the user's module, on the CPU and whole, for what it computes
        self.own = None if own is None else copy.deepcopy(energy)
        self.world = world
        self.written = to_dict(config) if written is None else written
        self.energy = energy.to(world.device)  # what chains run on
        self.frozen = Frozen(self.energy, self.execution)
        self.average = copy.deepcopy(self.energy).requires_grad_(False)
        self.model = parallel_model(self.energy, world, parallel)  # what the loss is computed with
        if parallel == "fsdp":
            sharded(self.average, world)
        self.optimizer = config.optimizer.build(self.energy.parameters())
        # one stream for the data, one for the chains: changing a sampler leaves the order of the
        # data as it was
        self.data_generator = stream(config.seed, "order of the data", device=world.device)
        self.chain_generator = chain_stream(config.seed, world)
        self.noise = StartNoise.of(data, world.device)
        slots = 0
        if chains is not None and chains.start == "bank":
            slots = world.share(chains.bank_size, f"{config.chains_at}.bank_size")
        self.standardisation, self.columns = data.standardisation, data.columns
        self.bank = Bank(self.noise.draw(slots, self.chain_generator))
        self.step = 0
        self.step_size = float(config.sampler.step_size)
        self.rollbacks = 0
        self.slowdown = 1.0  # factor on both step sizes, halved by each rollback

    def checkpoint(self, config: TrainConfig) -> Checkpoint:
        """The state as a checkpoint. All ranks call this together; rank 0's is whole."""
        generators = self.world.gather_rows(self.chain_generator.get_state()[None])
        parts: dict[str, dict[str, Tensor]] = {
            "energy": self.energy.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "bank": {"positions": self.world.gather_rows(self.bank.positions)},
            "noise": {"mean": self.noise.mean, "std": self.noise.std},
            "generator": {"data": self.data_generator.get_state()}
            | {chain_name(rank): generator for rank, generator in enumerate(generators)},
        }
        if self.own is not None:
            parts["probe"] = self.probe(config, parts["average"])
        if self.standardisation is not None:
            mean, std = self.standardisation.mean, self.standardisation.std
            parts["standardisation"] = {"mean": mean, "std": std}
        tensors = {
            f"{part}.{name}": unsharded(tensor)
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        meta = {
            "step": self.step,
            "step_size": self.step_size,
            "rollbacks": self.rollbacks,
            "slowdown": self.slowdown,
            "ranks": self.world.size,
            "event_shape": list(self.noise.mean.shape),
            "is_image": self.noise.is_image,
            "config": self.written,
        } | ({} if self.columns is None else {"columns": list(self.columns)})
        return Checkpoint(tensors, meta)

    def probe(self, config: TrainConfig, average: dict[str, Tensor]) -> dict[str, Tensor]:
        """Points, and what the user's network computes there with the averaged weights."""
        assert self.own is not None
        noise = StartNoise(self.noise.mean.cpu(), self.noise.std.cpu(), self.noise.is_image)
        points = noise.draw(given.POINTS, stream(config.seed, "probe of the network"))
        weights = {name: unsharded(t).cpu() for name, t in average.items()}
        self.own.load_state_dict(weights)
        return {"points": points, "energy": given.kept_values(self.own, points)}

    def restore(self, saved: Checkpoint) -> None:
        """Go back to what was saved.

        Another number of ranks gets the same weights, bank and data order, but chain generators
        that are seeded anew: a stream of random numbers cannot be split. Raises StanleyError where
        the network or the shape of the data is another one.
        """
        shape = tuple(saved.meta["event_shape"])
        require(
            shape == tuple(self.noise.mean.shape),
            f"{saved.path} was trained on points of shape {shape}, but the data now have shape "
            f"{tuple(self.noise.mean.shape)}; use the data that the run began with",
        )
        checkpoint.require_fit(self.energy, saved.part("energy"), saved.path)
        checkpoint.require_fit(self.average, saved.part("average"), saved.path)
        try:
            self.fill(saved)
        except (LookupError, ValueError, TypeError, RuntimeError) as error:
            if isinstance(error, StanleyError):
                raise
            raise StanleyError(
                f"{saved.path} does not fit this run ({in_one_line(error)}); use the settings that "
                "the run began with, or another --out"
            ) from error

    def fill(self, saved: Checkpoint) -> None:
        """Take over every tensor and number of the checkpoint."""
        self.keep_standardisation(saved)
        checkpoint.restore_weights(self.energy, saved.part("energy"), saved.path)
        checkpoint.restore_weights(self.average, saved.part("average"), saved.path)
        checkpoint.restore_optimizer(self.optimizer, saved.part("optimizer"))
        self.bank.positions.copy_(self.world.part(saved.tensors["bank.positions"]))
        self.data_generator.set_state(saved.tensors["generator.data"])
        if saved.ranks == self.world.size:
            self.chain_generator.set_state(
                saved.tensors[f"generator.{chain_name(self.world.rank)}"]
            )
        else:
            self.chain_generator = chain_stream(
                saved.meta["config"]["seed"], self.world, saved.step
            )
        device = self.world.device
        mean, std = (saved.tensors[f"noise.{name}"].to(device) for name in ("mean", "std"))
        self.noise = StartNoise(mean, std, self.noise.is_image)
        self.step = saved.step
        self.step_size = saved.meta["step_size"]
        self.rollbacks = saved.meta["rollbacks"]
        self.slowdown = saved.meta["slowdown"]

    def keep_standardisation(self, saved: Checkpoint) -> None:
        """The run's own, also where the data have changed since it began."""
        kept = standardisation_in(saved)
        if kept is not None and not kept.equals(self.standardisation):
            if self.world.first:
                warnings.warn(
                    "the data have other means and standard deviations than when the run began; "
                    "they are standardised as then",
                    stacklevel=2,
                )
            self.standardisation = kept


def standardisation_in(saved: Checkpoint) -> Standardisation | None:
    """What the checkpoint says was done to the data; None where nothing was."""
    part = saved.part("standardisation")
    return Standardisation(part["mean"].double(), part["std"].double()) if part else None


def chain_stream(seed: int, world: World, step: int = 0) -> torch.Generator:
    """For the chains of one rank, in a new run or one that resumes at `step` on other ranks."""
    return stream(seed, "chains of training", world.rank, world.size, step, device=world.device)


def chain_name(rank: int) -> str:
    return f"chain.{rank}" if rank else "chain"
