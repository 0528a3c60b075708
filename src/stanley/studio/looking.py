"""What the page of a run computes: where its energy is low, chains as they move, pictures that are
filled in, freed of noise, and scored. All of it is done by the library, on one checkpoint.

A long run of chains is cut into parts, between which the page is told and may stop it; the parts
together are the run, draw for draw.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stanley.data import centre, to_bytes
from stanley.errors import StanleyError, require
from stanley.models.trained import Start, Trained, data_of, load
from stanley.samplers import anneal, ladder, run_chains
from stanley.samplers.base import values
from stanley.samplers.run import potential_for
from stanley.samplers.traits import is_adjusted
from stanley.streams import stream
from stanley.studio.computing import Job
from stanley.studio.frames import packed
from stanley.types import in_float32
from stanley.uses import denoise, inpaint, outside
from stanley.uses.denoising import denoise_stream, require_stable
from stanley.uses.inpainting import anneal_unknown, inpaint_stream
from stanley.uses.scoring import LEVELS

CELLS = 140  # per side of a landscape
MARGIN = 0.2  # around the points, of their range
NATS = 8.0  # above the lowest energy, that are told apart in a landscape
SHOWN = 2_000  # points of the data and of the bank
COLUMNS = 12  # of vectors
PICTURES = 36  # of a grid
HELD_OUT = 500  # among which a picture is scored
FRAMES = 150  # of a run of chains
EVERY = 1 / 25  # seconds between two frames, at least

MOST_CHAINS = {True: 64, False: 2_000}  # of images, of vectors
MOST_STEPS = 20_000
MOST_DRAWS = 9  # of one picture


@dataclass
class Loaded:
    """The checkpoint that was last looked at, and its data once they were asked for."""

    key: tuple[Any, ...] | None = None
    model: Trained | None = None
    data: dict[str, Tensor] = field(default_factory=dict)

    def of(self, path: Path, step: int | None) -> Trained:
        checkpoints = path / "checkpoints"
        key = (path, step, checkpoints.stat().st_mtime_ns if checkpoints.is_dir() else None)
        if self.key != key or self.model is None:
            same_run = self.key is not None and self.key[0] == path
            self.key, self.model = None, load(path, step=step)
            self.key = key
            self.data = self.data if same_run else {}
        return self.model

    def rows(self, model: Trained) -> tuple[Tensor | None, str]:
        """Held-out data, as they lie in the data set, or None and why they are not at hand."""
        if "rows" not in self.data:
            try:
                self.data["rows"] = data_of(model).test[:SHOWN].clone()
            except StanleyError as error:
                return None, f"without data: {error}"
        return self.data["rows"], ""


@dataclass(frozen=True)
class Asked:
    """The fields of a request, each of the kind that it must be."""

    fields: dict[str, Any]

    def whole(self, name: str, usual: int, least: int, most: int) -> int:
        value = self.fields.get(name)
        if value is None:
            return usual
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        require(good, f"{name} is {value!r}, must be a whole number between {least} and {most:,}")
        return value

    def real(self, name: str, usual: float, least: float, most: float) -> float:
        value = self.fields.get(name, usual)
        good = isinstance(value, int | float) and least <= value <= most
        require(good, f"{name} is {value!r}, must be between {least:g} and {most:g}")
        return float(value)

    def one_of(self, name: str, known: tuple[str, ...]) -> str:
        value = self.fields.get(name, known[0])
        require(value in known, f"{name} is {value!r}, must be one of {', '.join(known)}")
        return value

    def step(self) -> int | None:
        value = self.fields.get("step")
        require(value is None or isinstance(value, int), f"step is {value!r}, no checkpoint's")
        return value

    def bytes_of(self, name: str, size: int) -> np.ndarray:
        """So many bytes, in base64."""
        try:
            content = base64.b64decode(self.fields.get(name, ""), validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise StanleyError(f"{name} is no base64") from error
        require(len(content) == size, f"{name} has {len(content)} bytes, must have {size}")
        return np.frombuffer(content, np.uint8)


def computation(loaded: Loaded, path: Path, fields: dict[str, Any]) -> Callable[[Job], None]:
    """What carries out a request of the page."""
    asked = Asked(fields)
    known = {
        "look": look,
        "draw": draw,
        "held-out": held_out,
        "inpaint": fill_in,
        "denoise": free_of_noise,
        "score": score,
    }
    do = known[asked.one_of("do", tuple(known))]
    return lambda job: do(job, loaded, loaded.of(path, asked.step()), asked)


def look(job: Job, loaded: Loaded, model: Trained, asked: Asked) -> None:
    """What a checkpoint holds: in the plane its landscape, the bank, of vectors some data."""
    message: dict[str, Any] = {
        "kind": "look",
        "step": model.step,
        "shape": list(model.event_shape),
        "image": model.is_image,
        "columns": None if model.columns is None else list(model.columns),
        "density": model.flow is None,
        "chains": len(model.bank),
        "steps": model.default_steps("noise"),
        "sampler": model.standardised.sampled_by["kind"],
    }
    bank = model.bank[:SHOWN]
    if model.is_image:
        job.tell(packed(message, bank=to_bytes(bank[:PICTURES])))
        return
    require(
        len(model.event_shape) == 1,
        f"points have shape {model.event_shape}; the page shows vectors and images",
    )
    rows, message["without"] = loaded.rows(model)
    data = bank[:0] if rows is None else model.original(rows.to(bank.device).to(bank.dtype))
    arrays = {"bank": bank[:, :COLUMNS], "data": data[:, :COLUMNS]}
    if model.event_shape == (2,):
        box = window(bank, data, model)
        message |= {"box": box}
        if model.flow is None:
            arrays["landscape"] = landscape(model, box)
            message |= {"nats": NATS}
    job.tell(packed(message, **arrays))


def window(bank: Tensor, data: Tensor, model: Trained) -> list[float]:
    """left, right, bottom, top around nearly all of the data, or of the bank without them."""
    points = data if len(data) else bank
    if not len(points):
        points = model.starts(500, "noise", stream(0, "window", device=model.device))
    low, high = (points.double().quantile(q, dim=0) for q in (0.005, 0.995))
    room = MARGIN * (high - low).clamp(min=1e-6)
    return [float(v) for pair in zip(low - room, high + room, strict=True) for v in pair]


def landscape(model: Trained, box: list[float]) -> Tensor:
    """U on a grid of cells (rows from the bottom up), above its lowest value there."""
    left, right, bottom, top = box
    dtype = model.noise.mean.dtype
    across, up = (
        torch.linspace(a, b, CELLS, dtype=dtype, device=model.device)
        for a, b in ((left, right), (bottom, top))
    )
    x = torch.cartesian_prod(up, across).flip(1)
    u = values(in_float32(model.potential), x, 4096).view(CELLS, CELLS)
    return (u - u[u.isfinite()].min()).nan_to_num(posinf=1e30).float()


def draw(job: Job, loaded: Loaded, model: Trained, asked: Asked) -> None:
    """Chains from noise, or from the bank, as `Trained.sample` runs them, told as they move."""
    most = MOST_CHAINS[model.is_image]
    num = asked.whole("chains", min(most, 16 if model.is_image else 500), 1, most)
    start: Start = "bank" if asked.one_of("start", ("noise", "bank")) == "bank" else "noise"
    steps = asked.whole("steps", model.default_steps(start), 1, MOST_STEPS)
    seed = asked.whole("seed", 0, 0, 2**31)
    told = Told(job, model)
    for x, words, share in moving(model, num, start, steps, seed):
        told(x, words, share)
    told.end()


@dataclass
class Told:
    """Tells the page where chains are, no more often than it can draw."""

    job: Job
    model: Trained
    last: float = 0.0
    waiting: bytes | None = None

    def __call__(self, x: Tensor, words: str, share: float) -> None:
        self.job.check()
        message = {"kind": "chains", "words": words, "share": share}
        points = to_bytes(x) if self.model.is_image else x[:, :COLUMNS]
        self.waiting = packed(message, x=points)
        if time.monotonic() - self.last >= EVERY:
            self.end()

    def end(self) -> None:
        """Tell where they are now, if that was not told yet."""
        if self.waiting is not None:
            self.job.tell(self.waiting)
            self.waiting, self.last = None, time.monotonic()


def moving(
    model: Trained, num: int, start: Start, steps: int, seed: int
) -> Iterator[tuple[Tensor, str, float]]:
    """The points of `model.sample(num, steps=steps, start=start, seed=seed)` on their way, in the
    units of the data, with words and the share of the way.
    """
    on_z = model.standardised
    generator = on_z.stream(seed, start)
    if model.flow is not None:
        chains = on_z.sample(num, steps=steps, seed=seed, keep_every=1)
        assert chains.draws is not None
        for n, x in enumerate(chains.draws, 1):
            yield model.original(x), f"flow, step {n} of {steps}", n / steps
        return
    levels = on_z.levels
    if start == "noise" and levels is not None:
        sigmas = ladder(levels.sigma_max, levels.sigma_min)
        x = levels.start(num, generator)
        for k in range(len(sigmas) - 1):
            x = anneal(
                lambda sigma: on_z.config.potential(levels.at(sigma)),
                x,
                sigmas[k : k + 2],
                generator=generator,
            )
            share = (k + 1) / (len(sigmas) - 1)
            yield model.original(x), f"noise level {sigmas[k + 1]:.3g}", share
    else:
        x = on_z.starts(num, start, generator)
        yield model.original(x), "start", 0.0
    potential = potential_for(on_z.sampler, on_z.potential)
    for now, done in parts(steps):
        chains = run_chains(on_z.sampler, potential, x, now, generator=generator)
        x = chains.x
        words = in_steps(done, steps)
        if is_adjusted(on_z.sampler):
            words += f", acceptance {float(chains.info.acceptance.mean()):.2f}"
        if lost := int(chains.info.nonfinite.sum()):
            words += f", {lost} not finite"
            yield model.original(x), words, done / steps
            return
        yield model.original(x), words, done / steps


def parts(steps: int) -> Iterator[tuple[int, int]]:
    """A run of so many steps in parts: the steps of each, and of all up to its end."""
    part = max(1, steps // FRAMES)
    for before in range(0, steps, part):
        now = min(part, steps - before)
        yield now, before + now


def in_steps(done: int, steps: int) -> str:
    return f"step {done:,} of {steps:,}"


def held_out(job: Job, loaded: Loaded, model: Trained, asked: Asked) -> None:
    """Held-out pictures to choose from."""
    require_images(model)
    rows, why = loaded.rows(model)
    require(rows is not None, f"{why}; choose a picture of your own in their place")
    assert rows is not None
    job.tell(packed({"kind": "held-out"}, images=rows[:24]))


def require_images(model: Trained) -> None:
    require(model.is_image, f"this is for images, and the points have shape {model.event_shape}")


def picture_of(model: Trained, asked: Asked) -> Tensor:
    """The picture that the page sent, (1, C, H, W) in [-1, 1]."""
    require_images(model)
    shape = model.event_shape
    pixels = asked.bytes_of("picture", int(np.prod(shape)))
    return centre(torch.from_numpy(pixels.copy()).view(1, *shape)).to(model.device)


def fill_in(job: Job, loaded: Loaded, model: Trained, asked: Asked) -> None:
    """Draws of the pixels under a mask that was painted, as `stanley inpaint` makes them."""
    images = picture_of(model, asked)
    height, width = model.event_shape[-2:]
    painted = asked.bytes_of("mask", height * width) > 0
    unknown = torch.from_numpy(painted).view(height, width).to(model.device)
    num = asked.whole("num", 4, 1, MOST_DRAWS)
    steps = asked.whole("steps", model.default_steps("noise"), 1, MOST_STEPS)
    generator = inpaint_stream(asked.whole("seed", 0, 0, 2**31), model.device)
    known, told = images.repeat_interleave(num, 0), Told(job, model)
    potential = potential_for(model.sampler, model.potential)
    levels = model.levels
    if levels is None:
        x = torch.where(unknown, model.starts(num, "noise", generator), known)
    else:
        sigmas, x = ladder(levels.sigma_max, levels.sigma_min), levels.start(num, generator)
        for k in range(len(sigmas) - 1):
            x = anneal_unknown(
                lambda sigma: model.config.potential(levels.at(sigma)),
                known,
                unknown,
                x,
                sigmas[k : k + 2],
                generator=generator,
            )
            told(x, f"noise level {sigmas[k + 1]:.3g}", (k + 1) / (len(sigmas) - 1))

    def filled(x: Tensor, steps: int) -> Tensor:
        sampler = model.sampler
        return inpaint(sampler, potential, images, unknown, x, steps, generator=generator).draws[0]

    draws_of(filled, x, steps, told)


def free_of_noise(job: Job, loaded: Loaded, model: Trained, asked: Asked) -> None:
    """Draws of the clean picture behind a noisy one, as `stanley denoise` makes them; the noise is
    added to a picture that is clean, as with `--clean`.
    """
    images, clean = picture_of(model, asked), asked.one_of("given", ("clean", "noisy")) == "clean"
    std = asked.real("noise", 0.3, 0.01, 2.0)
    num = asked.whole("num", 4, 1, MOST_DRAWS)
    steps = asked.whole("steps", model.default_steps("noise"), 1, MOST_STEPS)
    generator = denoise_stream(asked.whole("seed", 0, 0, 2**31), model.device)
    require_stable(model.sampler, std)
    y = images
    if clean:
        y = y + std * torch.randn(y.shape, generator=generator, device=y.device)
        job.tell(packed({"kind": "noisy"}, x=to_bytes(y)))
    told, observed = Told(job, model), y.repeat_interleave(num, 0)
    below = model.starts_below(observed, std, generator)
    x = observed if below is None else below
    potential = potential_for(model.sampler, model.potential)

    def restored(x: Tensor, steps: int) -> Tensor:
        return denoise(model.sampler, potential, y, std, x, steps, generator=generator).draws[0]

    draws_of(restored, x, steps, told)


def draws_of(moved: Callable[[Tensor, int], Tensor], x: Tensor, steps: int, told: Told) -> None:
    """Tell where draws x of one picture are as `moved` takes them along, and then their mean."""
    for now, done in parts(steps):
        x = moved(x, now)
        told(x, in_steps(done, steps), done / steps)
    told.end()
    told.job.tell(packed({"kind": "mean"}, x=to_bytes(x.mean(0, keepdim=True))))


def score(job: Job, loaded: Loaded, model: Trained, asked: Asked) -> None:
    """How unusual the energy thinks a picture, among held-out ones where they are at hand."""
    x, (rows, why) = picture_of(model, asked), loaded.rows(model)
    usual = None if rows is None else centre(rows[:HELD_OUT]).to(model.device)
    levels = [] if usual is None else model.potentials_down(LEVELS)
    found = outside(in_float32(model.potential), x, usual, None, levels)
    message: dict[str, Any] = {
        "kind": "score",
        "energy": float(found.scores.energy[0]),
        "gradient": float(found.scores.grad_norm[0]),
        "percentile": None if found.percentile is None else float(found.percentile[0]),
        "rarity": None if found.rarity is None else float(found.rarity[0]),
        "n": 0 if usual is None else len(usual),
        "without": why,
    }
    energies = x.new_empty(0) if found.held_out is None else found.held_out.energy
    job.tell(packed(message, energies=energies))
