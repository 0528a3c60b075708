"""A trained energy, loaded from a run directory or a packed folder, and samples of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stanley.config import from_dict, kind_of
from stanley.data import Dataset, OwnData, centre
from stanley.data import given as given_data
from stanley.data.base import standardised_as
from stanley.data.standardisation import Standardisation
from stanley.device import pick_device
from stanley.errors import StanleyError, require
from stanley.models.packed import is_packed, read_packed
from stanley.models.units import InUnitsOfData, OfStandardised
from stanley.networks import LevelEnergy, OwnNetwork, build_energy
from stanley.networks.levels import level_energy
from stanley.notebooks import in_a_line, in_html
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.runs.origin import is_signed, paths_of, without_paths
from stanley.samplers import (
    ChainResult,
    Preconditioned,
    Sampler,
    anneal,
    ladder,
    run_chains,
)
from stanley.samplers import given as given_sampler
from stanley.samplers.annealed import evenly_in_log
from stanley.samplers.run import potential_for
from stanley.samplers.traits import has_quantile, traits_of, with_step_size, with_threshold
from stanley.streams import stream
from stanley.training.bank import Bank, StartNoise
from stanley.training.config import TrainConfig
from stanley.training.former import of_a_run
from stanley.training.objectives import flow_matching
from stanley.training.objectives.given import extended
from stanley.training.objectives.warm_start import from_the_ladder
from stanley.training.own import require_same_network
from stanley.training.state import standardisation_in
from stanley.types import Energy, Potential, in_float32
from stanley.uses.composition import Composed
from stanley.uses.inpainting import anneal_unknown

Weights = Literal["average", "raw"]
Start = Literal["noise", "bank"]


@dataclass(frozen=True)
class Trained:
    """What a checkpoint of a run knows: the energy (evaluation mode, no parameter gradients), the
    sampler with its adapted step size and threshold, the bank, and the noise that fresh chains
    start from. Needs no training data.

    Where training standardised its vectors, all of these are in the units of the data again, in
    float64: the energy is E_z((x - mean)/std) + T·Σ log std, and the sampler takes the steps that
    training took, scaled by std in each coordinate. `standardised` is the same model on z, in
    float32; `original` and `standardise` go between the two."""

    config: TrainConfig
    step: int
    weights: Weights
    energy: nn.Module
    sampler: Sampler  # of the configuration; in `Preconditioned` where vectors were standardised
    bank: Tensor  # (M, *event), M = 0 where training kept none
    noise: StartNoise
    path: Path
    elsewhere: str | None = None  # where a run that this user did not train says that its data are
    data: Dataset | None = None  # that were handed over with it
    standardisation: Standardisation | None = None  # of the data, before training
    columns: tuple[str, ...] | None = None  # names of the coordinates, where the data had some
    on_z: Trained | None = None  # the model on standardised points; None where it is that itself

    def told(self) -> dict[str, object]:
        """What it is, for a person."""
        numbers = sum(w.numel() for w in self.energy.parameters())
        return {
            "path": self.path,
            "step": f"{self.step:,} of {self.config.steps:,}",
            "weights": self.weights,
            "energy": f"{self.config.network.kind}, {numbers:,} parameters",
            "points": self.event_shape,
            "sampled by": self.standardised.sampled_by["kind"],
        }

    def __repr__(self) -> str:
        return in_a_line("Trained", self.told())

    def _repr_html_(self) -> str:
        return in_html("Trained energy", self.told())

    @property
    def standardised(self) -> Trained:
        """The same model on the points z that training saw; itself where these are the data's."""
        if self.on_z is None:
            return self
        return replace(self.on_z, config=self.config, elsewhere=self.elsewhere)

    def original(self, z: Tensor) -> Tensor:
        """Points z (…, *event) of training in the units of the data."""
        return z if self.standardisation is None else self.standardisation.undo(z)

    def standardise(self, x: Tensor) -> Tensor:
        """Points x (…, *event) in the units of the data as training saw them."""
        return x if self.standardisation is None else self.standardisation.standardise(x)

    @property
    def log_scale(self) -> float:
        """Σ log std in nats: -log p of a point is that of z plus this; 0 where z is x."""
        return 0.0 if self.standardisation is None else self.standardisation.log_scale

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
        if start == "bank" or self.standardised.levels is not None:
            return chain_steps
        return max(10 * chain_steps, 0 if self.is_image else 1000)

    @property
    def levels(self) -> LevelEnergy | None:
        """The energy where it was trained at many noise levels, or None. Levels are those of
        standardised points: in units of the data there are none.
        """
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
        matched = isinstance(extended(self.config.objective), flow_matching.FlowMatching)
        return level_energy(self.standardised.energy) if matched else None

    @property
    def sampled_by(self) -> dict[str, Any]:
        """What makes its samples, as plain values: the sampler with its fields, or the flow."""
        return given_sampler.plain(self.sampler) if self.flow is None else {"kind": "flow"}

    def starts(
        self, num: int, start: Start, generator: torch.Generator, *, progress: bool = False
    ) -> Tensor:
        """`num` chains (num, *event) of the bank or from noise; those of an energy that knows noise
        levels have come down the ladder of them (`samplers.annealed`). Of a flow, the noise that
        it moves.
        """
        require(num >= 1, f"num is {num}, must be at least 1")
        if self.on_z is not None:
            on_z = self.standardised
            return self.original(on_z.starts(num, start, generator, progress=progress))
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

        Chains on standardised vectors run on z and are told in the units of the data, in float64;
        `info.grad_norm` stays |∇U_z|, in nats per standard deviation.

        steps: `default_steps` of the start unless given. The run's precision and chunks are kept,
        but an adjusted sampler, put in place of the run's own, is given U in float32. Unadjusted
        samplers carry their bias into the samples, and no number of steps proves convergence.
        """
        on_z = self.standardised
        if isinstance(self.sampler, Preconditioned) and self.sampler.sampler is on_z.sampler:
            chains = on_z.sample(
                num, steps=steps, start=start, seed=seed, keep_every=keep_every, progress=progress
            )
            return in_units_of_data(chains, self)
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


def in_units_of_data(chains: ChainResult, model: Trained) -> ChainResult:
    """Chains on z as chains on x: points, draws, and U by the change of variables."""
    info = replace(chains.info, potential=chains.info.potential + model.log_scale)
    return ChainResult(
        x=model.original(chains.x),
        draws=None if chains.draws is None else model.original(chains.draws),
        info=info,
        before=model.original(chains.before),
    )


def alike(models: Sequence[Trained]) -> bool:
    """Whether all were trained on points of the same units."""
    first, *rest = (model.standardisation for model in models)
    return all(one is first or (one is not None and one.equals(first)) for one in rest)


def potential_on(model: Trained, first: Trained) -> Energy:
    """U of a model on the points that training of the `first` saw, up to a constant."""
    if alike((model, first)):
        return model.standardised.potential
    if first.standardisation is None:
        return model.potential
    return OfStandardised(model.potential, first.standardisation)


def sampler_on(model: Trained, first: Trained) -> Sampler:
    """The model's sampler for the points that training of the `first` saw: with the step size that
    is right in the coordinate where a standard deviation of the model is smallest.
    """
    sampler = model.standardised.sampler
    if alike((model, first)):
        return sampler
    one = torch.ones(model.event_shape)
    widths = (one if m.standardisation is None else m.standardisation.std for m in (model, first))
    ours, theirs = (width.double().cpu() for width in widths)
    ratio = float((ours / theirs).min()) ** (1 if traits_of(sampler).step_is_time else 2)
    return with_step_size(sampler, float(sampler.step_size) * ratio)


def starts_of_sum(
    models: Sequence[Trained], weights: Sequence[float], num: int, generator: torch.Generator
) -> Tensor:
    """`num` starts (num, *event) for chains on Σ w_i·U_i, from noise; points of the first model.

    Where all energies know noise levels they come down the levels that all know, on the weighted
    mean Σ w_i·U_i(·, σ) / Σ w_i. Not true: that they end in the product: data under noise do not
    multiply, so chains on the sum go on from there. Elsewhere they are those of the first, and so
    they are where the models standardised their data differently: their levels do not agree.
    """
    if models[0].on_z is not None and alike(models):
        inner = [model.standardised for model in models]
        return models[0].original(starts_of_sum(inner, weights, num, generator))
    energies = [model.levels for model in models]
    known = [energy for energy in energies if energy is not None]
    if len(known) < len(models) or not alike(models):
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
) -> Sampler:
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
    """The data that the model was trained on, read again, standardised as they were for it; they
    must still have its shape.
    """
    if model.data is not None:
        data, known = handed_over(model, model.data), model.standardisation
        if known is not None and data.standardisation is None:  # they are in their own units
            return standardised_as(replace(data, raw=False), known)
        if data.raw:
            data = given_data.for_training(data, "in their own units", standardise=False)
        return data.standardised_by(known)
    require(
        model.elsewhere is None,
        f"{model.path} comes from elsewhere, so that its data ({model.elsewhere}) are not read; "
        "say where they are with --data.path or --data.root",
    )
    spec = model.config.data
    if isinstance(spec, OwnData):
        raise StanleyError(f"{model.path}: {spec.why_not}")
    data = spec.load()
    require(
        data.event_shape == model.event_shape,
        f"{model.path} was trained on points of shape {model.event_shape}, its data now have"
        f" {data.event_shape}",
    )
    return data.standardised_by(model.standardisation)


def handed_over(model: Trained, data: Dataset) -> Dataset:
    """The data that were handed over, which are those of the training, where it has kept which."""
    require(
        data.event_shape == model.event_shape and data.is_image == model.is_image,
        f"{model.path} was trained on {'images' if model.is_image else 'points'} of shape "
        f"{model.event_shape}, the data that are handed over are "
        f"{'images' if data.is_image else 'points'} of shape {data.event_shape}",
    )
    known = model.config.data
    if isinstance(known, given_data.GivenData) and known.fingerprint is not None:
        rows = len(data.train) + len(data.test)
        require(
            given_data.fingerprint(data, known.standardise) == known.fingerprint,
            f"{model.path} was trained on {known.rows:,} rows of other values than the {rows:,} "
            "that are handed over; hand over those it was trained on, in the same order",
        )
    require(
        data.stream is None and len(data.test) > 0,
        "the data that are handed over hold no rows out, which scores need; hand over a tensor, of "
        "which a tenth is, or stanley.Dataset(train, test)",
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
    step: int | None = None,
    device: str = "auto",
    energy: Any = None,
    data: Any = None,
    sampler: Any = None,
) -> Trained:
    """The newest readable checkpoint of a run directory, or that of a `step`, or a packed folder;
    `weights` 'average' (EMA) or 'raw'.

    A run that was trained with a network or a sampler of the user's own, or by it, needs them
    again: `energy`, a module, of which a copy gets the weights of the run, or what builds one by
    `build(event_shape)`; `sampler`, the same or its class. `data` are those of the training, and
    are needed by what judges it alone. Nothing that a run names is ever imported. Raises
    StanleyError for a part that is missing, or that differs from the one the run was trained with.
    """
    require(weights in ("average", "raw"), f"weights is {weights!r}, must be 'average' or 'raw'")
    place = pick_device(device)
    path = Path(run.path if isinstance(run, RunDirectory) else run)
    if is_packed(path):
        require(
            weights == "average",
            f"{path} is packed and holds averaged weights only; leave weights out",
        )
        require(step is None, f"{path} is packed and holds one step; leave step out")
        saved = read_packed(path)
        told = saved.meta["config"].get("data")
    else:
        directory = RunDirectory.existing(path)
        if step is None:
            newest = checkpoint.newest(directory.checkpoints)
        else:
            newest = checkpoint.of_step(directory.checkpoints, step)
        require(newest is not None, f"{path} holds no checkpoint yet; train it first")
        assert newest is not None
        saved = newest
        told = directory.read_config().get(
            "data", saved.meta["config"].get("data")
        )  # where they lie now, if moved
    require(
        isinstance(told, dict),
        f"{path}: its data are {told!r}, not fields; restore its config.json",
    )
    elsewhere = None
    if is_packed(path) or not is_signed(path, told):
        elsewhere = next(iter(paths_of(told).values()), None)
        told = without_paths(told)
    told = told | ({"download": False} if "download" in told else {})  # that is for training alone
    config = from_dict(TrainConfig, of_a_run(saved.meta["config"] | {"data": told}))
    config = with_parts(config, path, energy, sampler)
    part = saved.part("energy" if weights == "raw" else "average")
    # before anything is filled: a file that is small must not ask for much
    with torch.device("meta") if energy is None else nullcontext():
        checkpoint.require_fit(energy_of(config, saved, energy), part, saved.path)
    network = energy_of(config, saved, energy)
    if energy is not None:
        require_same_network(network, saved)
    checkpoint.restore_weights(network, part, saved.path)
    noise = StartNoise(
        saved.tensors["noise.mean"].to(place),
        saved.tensors["noise.std"].to(place),
        saved.meta["is_image"],
    )
    network, bank = (
        network.to(place).eval().requires_grad_(False),
        saved.tensors["bank.positions"].to(place),
    )
    step_size = saved.meta["step_size"] * saved.meta["slowdown"]
    columns = saved.meta.get("columns")
    trained = Trained(
        config=config,
        step=saved.step,
        weights=weights,
        energy=network,
        sampler=trained_sampler(config, step_size, config.potential(network), bank),
        bank=bank,
        noise=noise,
        path=path,
        elsewhere=elsewhere,
        data=None if data is None else given_data.dataset_of(data),
        standardisation=standardisation_in(saved),
        columns=None if columns is None else tuple(columns),
    )
    return trained if trained.standardisation is None else of_data(trained)


def of_data(on_z: Trained) -> Trained:
    """A model on standardised points as one on points in the units of the data."""
    standardisation = on_z.standardisation
    assert standardisation is not None
    _, std = standardisation.on(on_z.device)
    noise = StartNoise(on_z.original(on_z.noise.mean), std * on_z.noise.std, on_z.is_image)
    return replace(
        on_z,
        energy=InUnitsOfData(on_z.energy, standardisation, on_z.config.temperature).eval(),
        sampler=Preconditioned(on_z.sampler, std),
        bank=on_z.original(on_z.bank),
        noise=noise,
        on_z=on_z,
    )


def with_parts(config: TrainConfig, path: Path, energy: Any, sampler: Any) -> TrainConfig:
    """The configuration of a run with the sampler that is handed over; raises StanleyError for
    what is missing, and for what the run has no use for."""
    own = isinstance(config.network, OwnNetwork)
    require(
        own or energy is None,
        f"{path} was trained with network {kind_of(config.network)!r} of the library, so that "
        "energy= changes nothing; leave it out",
    )
    try:
        if isinstance(config.network, OwnNetwork) and energy is None:
            raise StanleyError(config.network.why_not)
        return replace(config, sampler=given_sampler.with_own(config.sampler, sampler))
    except StanleyError as error:
        raise StanleyError(f"{path}: {error}") from None


def energy_of(config: TrainConfig, saved: checkpoint.Checkpoint, own: Any = None) -> nn.Module:
    """The network of the configuration, or `own`, for the points of the checkpoint, its weights not
    yet those of the file.
    """
    return build_energy(
        config.network,
        tuple(saved.meta["event_shape"]),
        seed=config.seed,
        reference_std=config.reference_std,
        own=own,
    )
