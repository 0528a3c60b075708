"""A trained energy, loaded from a run directory or a packed folder, and samples of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stanley.config import from_dict, to_dict
from stanley.data import Dataset, centre
from stanley.device import pick_device
from stanley.errors import require
from stanley.models.packed import is_packed, read_packed
from stanley.networks import LevelEnergy, build_energy
from stanley.networks.levels import level_energy
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.runs.origin import is_signed, paths_of, without_paths
from stanley.samplers import AnySampler, ChainResult, anneal, ladder, run_chains
from stanley.samplers.annealed import evenly_in_log
from stanley.samplers.run import potential_for
from stanley.samplers.traits import has_quantile, with_step_size, with_threshold
from stanley.streams import stream
from stanley.training.bank import Bank, StartNoise
from stanley.training.config import TrainConfig
from stanley.training.former import up_to_date
from stanley.training.objectives import flow_matching
from stanley.training.objectives.warm_start import from_the_ladder
from stanley.types import Potential, in_float32
from stanley.uses.composition import Composed
from stanley.uses.inpainting import anneal_unknown

Weights = Literal["average", "raw"]
Start = Literal["noise", "bank"]


@dataclass(frozen=True)
class Trained:
    """What a checkpoint of a run knows: the energy (evaluation mode, no parameter gradients), the
    sampler with its adapted step size and threshold, the bank, and the noise that fresh chains
    start from. Needs no training data."""

    config: TrainConfig
    step: int
    weights: Weights
    energy: nn.Module
    sampler: AnySampler
    bank: Tensor  # (M, *event), M = 0 where training kept none
    noise: StartNoise
    path: Path
    elsewhere: str | None = None  # where a run that this user did not train says that its data are

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.noise.mean.shape)

    @property
    def is_image(self) -> bool:
        return self.noise.is_image

    @property
    def potential(self) -> Potential:
        """U = E/T as the chains of training saw it, in the run's precision and in chunks of its
        `chunk_size`. Raises StanleyError where training made no density.

        For a Metropolis test, and whatever else compares values of U, take
        `stanley.types.in_float32` of it.
        """
        if self.flow is not None:
            raise flow_matching.no_density(self.path)
        return self.config.potential(self.energy)

    def default_steps(self, start: Start) -> int:
        """From the bank K, one training call, at the length that growing chains have at this step;
        from noise ten of them, and at least 1,000 for vectors. After a ladder of noise levels K, or
        20 where training ran no chains. Of a flow 40, with two gradients each.
        """
        if self.flow is not None:
            return flow_matching.STEPS
        chains = self.config.objective.contrastive
        chain_steps = 20 if chains is None else chains.chain_steps_at(self.step, self.config.steps)
        if start == "bank" or self.levels is not None:
            return chain_steps
        return max(10 * chain_steps, 0 if self.is_image else 1000)

    @property
    def levels(self) -> LevelEnergy | None:
        """The energy where it was trained at many noise levels, or None."""
        return level_energy(self.energy) if self.config.objective.denoising else None

    def potentials_down(self, num: int) -> list[Potential]:
        """U(·, σ) in float32 at `num` noise levels with equal ratios, σ_max first; none where the
        energy knows one level alone.
        """
        levels = self.levels
        if levels is None:
            return []
        sigmas = evenly_in_log(levels.sigma_max, levels.sigma_min, num)
        return [in_float32(self.config.potential(levels.at(sigma))) for sigma in sigmas]

    @property
    def flow(self) -> LevelEnergy | None:
        """The energy where it was trained by flow matching, so that its gradient is a velocity and
        it is no density; None elsewhere.
        """
        matched = isinstance(self.config.objective, flow_matching.FlowMatching)
        return level_energy(self.energy) if matched else None

    @property
    def sampled_by(self) -> dict[str, Any]:
        """What makes its samples, as plain values: the sampler with its fields, or the flow."""
        return to_dict(self.sampler) if self.flow is None else {"kind": "flow"}

    def starts(
        self, num: int, start: Start, generator: torch.Generator, *, progress: bool = False
    ) -> Tensor:
        """`num` chains (num, *event) of the bank or from noise; those of an energy that knows noise
        levels have come down the ladder of them (`samplers.annealed`). Of a flow, the noise that
        it moves.
        """
        require(num >= 1, f"num is {num}, must be at least 1")
        if start == "noise" and self.flow is not None:
            return self.flow.start(num, generator)
        if start == "noise" and self.levels is not None:
            return from_the_ladder(self.config, self.levels, num, generator, progress=progress)
        if start == "noise":
            return self.noise.draw(num, generator)
        require(len(self.bank) > 0, f"{self.path} keeps no bank; use start noise")
        require(
            num <= len(self.bank),
            f"num is {num}, the bank of {self.path} holds {len(self.bank)}; ask for fewer",
        )
        return Bank(self.bank).draw(num, generator)[1]

    def starts_beside(self, known: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Starts (B, *event) for chains on the masked part of `known` (B, *event), for an energy
        that knows noise levels: down the ladder beside the known part (`uses.inpainting`).
        """
        levels = self.levels
        require(levels is not None, f"{self.path} was not trained at many noise levels")
        assert levels is not None
        return anneal_unknown(
            lambda sigma: self.config.potential(levels.at(sigma)),
            known,
            mask,
            levels.start(len(known), generator),
            ladder(levels.sigma_max, levels.sigma_min),
            generator=generator,
        )

    def starts_below(self, y: Tensor, std: float, generator: torch.Generator) -> Tensor | None:
        """Starts (B, *event) for chains on clean points behind y (B, *event), to which noise of
        `std` was added: y itself, taken down the ladder from there. As far as the ladder is exact
        they are draws of the clean point given y. None where the energy does not know that level.
        """
        levels = self.levels
        if levels is None or not levels.sigma_min < std <= levels.sigma_max:
            return None
        return anneal(
            lambda sigma: self.config.potential(levels.at(sigma)),
            y,
            ladder(std, levels.sigma_min),
            generator=generator,
        )

    @property
    def device(self) -> torch.device:
        return self.noise.mean.device

    def stream(self, seed: int, start: Start) -> torch.Generator:
        """What `sample` draws its starts from, and then its chains: chains from noise and from the
        bank, with one seed, have nothing in common."""
        return stream(seed, "samples", start, device=self.device)

    def sample(
        self,
        num: int,
        *,
        steps: int | None = None,
        start: Start = "noise",
        seed: int = 0,
        keep_every: int | None = None,
        progress: bool = False,
    ) -> ChainResult:
        """`num` chains of the run's sampler at its last step size, from fresh noise or from the
        bank. Where the energy knows noise levels, fresh chains come down their ladder first. Where
        it is that of a flow there are no chains: `num` points of noise are moved in `steps` steps.

        steps: `default_steps` of the start unless given. The run's precision and chunks are kept,
        but an adjusted sampler, put in place of the run's own, is given U in float32. Unadjusted
        samplers carry their bias into the samples, and no number of steps proves convergence.
        """
        generator = self.stream(seed, start)
        x0 = self.starts(num, start, generator, progress=progress)
        num_steps = self.default_steps(start) if steps is None else steps
        if self.flow is not None:
            return flow_matching.down_the_flow(
                self.config, self.flow, x0, num_steps, keep_every=keep_every, progress=progress
            )
        return run_chains(
            self.sampler,
            potential_for(self.sampler, self.potential),
            x0,
            num_steps,
            generator=generator,
            keep_every=keep_every,
            progress=progress,
        )


def starts_of_sum(
    models: Sequence[Trained], weights: Sequence[float], num: int, generator: torch.Generator
) -> Tensor:
    """`num` starts (num, *event) for chains on Σ w_i·U_i, from noise.

    Where all energies know noise levels they come down the levels that all know, on the weighted
    mean Σ w_i·U_i(·, σ) / Σ w_i. Not true: that they end in the product: data under noise do not
    multiply, so chains on the sum go on from there. Elsewhere they are those of the first.
    """
    energies = [model.levels for model in models]
    known = [energy for energy in energies if energy is not None]
    if len(known) < len(models):
        return models[0].starts(num, "noise", generator)
    high, low = min(e.sigma_max for e in known), max(e.sigma_min for e in known)
    require(
        low < high,
        f"the energies have no noise level in common: the largest smallest one is {low:.3g}, the "
        f"smallest largest one {high:.3g}; train them on data of the same scale",
    )
    shares = tuple(w / sum(weights) for w in weights)

    def mean_at(sigma: float) -> Composed:
        parts = (m.config.potential(e.at(sigma)) for m, e in zip(models, known, strict=True))
        return Composed(tuple(parts), shares)

    x = min(known, key=lambda energy: energy.sigma_max).start(num, generator)
    return anneal(mean_at, x, ladder(high, low), generator=generator)


def trained_sampler(
    config: TrainConfig, step_size: float, potential: Potential, bank: Tensor
) -> AnySampler:
    """The sampler that the energy was trained with: its last step size, and its threshold.

    A `Quantile` is resolved on as many chains of the bank as a training call starts from. At fresh
    noise, where |∇U| is many times what it is near the data, the same quantile would be another
    threshold, which cuts nothing by the time the chains arrive. Without a bank training started
    from noise or data each time, and the quantile stays.
    """
    sampler = with_step_size(config.sampler, step_size)
    if not has_quantile(sampler) or not len(bank):
        return sampler
    return with_threshold(sampler, sampler.init(potential, bank[: config.batch]).threshold)


def with_data_at(model: Trained, place: str | None) -> Trained:
    """The model with another folder, or file, for its data; a packed one knows none."""
    if place is None:
        return model
    data: Any = model.config.data
    name = next((name for name in ("root", "path") if hasattr(data, name)), None)
    require(
        name is not None,
        f"--data.root {place} changes nothing: {data.kind} data lie nowhere; leave it out",
    )
    moved = replace(model.config, data=replace(data, **{str(name): place}))
    return replace(model, config=moved, elsewhere=None)


def data_of(model: Trained) -> Dataset:
    """The data that the model was trained on, read again; they must still have its shape."""
    require(
        model.elsewhere is None,
        f"{model.path} comes from elsewhere, so that its data ({model.elsewhere}) are not read; "
        "say where they are with --data.path or --data.root",
    )
    data = model.config.data.load()
    require(
        data.event_shape == model.event_shape,
        f"{model.path} was trained on points of shape {model.event_shape}, its data now have"
        f" {data.event_shape}",
    )
    return data


def held_out_images(model: Trained, limit: int) -> Tensor:
    """The first held-out images of the model's data, as points on its device."""
    require(model.is_image, f"the model knows points of shape {model.event_shape}, not images")
    return centre(data_of(model).test[:limit]).to(model.device)


def load(
    run: str | os.PathLike[str] | RunDirectory,
    *,
    weights: Weights = "average",
    device: str = "auto",
) -> Trained:
    """The newest readable checkpoint of a run directory, or a packed folder; `weights` 'average'
    (EMA) or 'raw'.
    """
    require(weights in ("average", "raw"), f"weights is {weights!r}, must be 'average' or 'raw'")
    place = pick_device(device)
    path = Path(run.path if isinstance(run, RunDirectory) else run)
    if is_packed(path):
        require(
            weights == "average",
            f"{path} is packed and holds averaged weights only; leave weights out",
        )
        saved = read_packed(path)
        data = saved.meta["config"].get("data")
    else:
        directory = RunDirectory.existing(path)
        newest = checkpoint.newest(directory.checkpoints)
        require(newest is not None, f"{path} holds no checkpoint yet; train it first")
        assert newest is not None
        saved = newest
        data = directory.read_config().get(
            "data", saved.meta["config"].get("data")
        )  # where they lie now, if moved
    require(
        isinstance(data, dict),
        f"{path}: its data are {data!r}, not fields; restore its config.json",
    )
    elsewhere = None
    if is_packed(path) or not is_signed(path, data):
        elsewhere = next(iter(paths_of(data).values()), None)
        data = without_paths(data)
    data = data | ({"download": False} if "download" in data else {})  # that is for training alone
    config = from_dict(TrainConfig, up_to_date(saved.meta["config"]) | {"data": data})
    part = saved.part("energy" if weights == "raw" else "average")
    with torch.device(
        "meta"
    ):  # before anything is filled: a file that is small must not ask for much
        checkpoint.require_fit(energy_of(config, saved), part, saved.path)
    energy = energy_of(config, saved)
    checkpoint.restore_weights(energy, part, saved.path)
    noise = StartNoise(
        saved.tensors["noise.mean"].to(place),
        saved.tensors["noise.std"].to(place),
        saved.meta["is_image"],
    )
    energy, bank = (
        energy.to(place).eval().requires_grad_(False),
        saved.tensors["bank.positions"].to(place),
    )
    step_size = saved.meta["step_size"] * saved.meta["slowdown"]
    return Trained(
        config=config,
        step=saved.step,
        weights=weights,
        energy=energy,
        sampler=trained_sampler(config, step_size, config.potential(energy), bank),
        bank=bank,
        noise=noise,
        path=path,
        elsewhere=elsewhere,
    )


def energy_of(config: TrainConfig, saved: checkpoint.Checkpoint) -> nn.Module:
    """The network of the configuration for the points of the checkpoint, its weights not yet those
    of the file.
    """
    return build_energy(
        config.network,
        tuple(saved.meta["event_shape"]),
        seed=config.seed,
        reference_std=config.reference_std,
    )
