"""Chains of several samplers that move side by side on one density, and what is told of them.

The steps are the samplers' own, and the chains those of `run_chains` for the same start and seed,
bit for bit. A frame is what a picture needs, in bytes; little-endian:

    u32 frame, u32 step, u32 chains B, u32 panels
    of each panel:  u16 x[B], u16 y[B], u8 γ[B], padded to a multiple of 4 bytes

x and y count from 0 at the left and lower edge of the window to 65534 at the other; 65535 is a
chain outside of the window, or not finite. γ is 255 where a step is not shortened, or cannot be.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.comparing.moments import functions
from stanley.config import from_dict
from stanley.diagnostics.chains import summarise
from stanley.errors import StanleyError, in_one_line, require
from stanley.samplers import Adjusted, AnySampler, Langevin, Sampler, Stanley
from stanley.samplers.given import own_inside
from stanley.samplers.run import begin, check_request, potential_for
from stanley.samplers.totals import Totals
from stanley.samplers.traits import is_adjusted, traits_of
from stanley.streams import stream
from stanley.studio.stage import BINS, Stage, View, Window, view_of

MOST_CHAINS, MOST_PANELS = 16_384, 4
MOST_NUMBERS = 1 << 20  # in the positions of one panel
MOST_GRADIENTS = 256  # of one step of a chain, so that a step ends soon after it was asked for
EDGE, OUTSIDE = 65_534, 65_535  # of a position in a frame
HEADER = struct.Struct("<4I")
JUDGED = 128  # chains that R̂ and ESS are of
DRAWS = 256  # states of them that are kept
BLOCKS = 256  # of steps whose sums are kept


@dataclass(frozen=True)
class Play:
    """What is watched."""

    density: str = "banana"  # a density on offer
    samplers: tuple[AnySampler, ...] = (  # side by side
        Langevin(0.3),
        Stanley(0.3, threshold=2.0),
        Adjusted(Stanley(0.3, threshold=2.0)),
    )
    chains: int = 4096  # of each sampler
    start: Literal["noise", "point", "mode"] = "noise"  # where all of them begin
    width: float = 1.0  # of the noise they start from; 1 is as wide as the density
    point: tuple[float, float] = (0.0, 0.0)  # in the picture, for a start at one point
    coordinates: tuple[int, int] = (0, 1)  # of the density, in the picture
    seed: int = 0  # of the start and of the chains

    def __post_init__(self) -> None:
        require(
            1 <= len(self.samplers) <= MOST_PANELS,
            f"there are {len(self.samplers)} samplers, but must be 1 to {MOST_PANELS}",
        )
        require(
            2 <= self.chains <= MOST_CHAINS,
            f"chains is {self.chains:,}, but must be 2 to {MOST_CHAINS:,}",
        )
        require(
            0 < self.width <= 1000, f"width is {self.width:g}, but must be above 0 and at most 1000"
        )
        require(
            all(abs(v) < 1e30 for v in self.point),
            f"point is {self.point}, but must be two finite numbers",
        )
        require(
            0 <= self.seed < 2**53, f"seed is {self.seed}, but must be a whole number from 0 to 2⁵³"
        )


class SamplerError(StanleyError):
    """What is wrong with the sampler of one panel, counted from 0."""

    def __init__(self, line: str, panel: int) -> None:
        super().__init__(line)
        self.panel = panel


def play_of(asked: dict[str, Any]) -> Play:
    """What plain values ask for; raises StanleyError with the library's own line for a wrong one,
    `SamplerError` where it is one of a sampler.
    """
    listed = asked.get("samplers")
    require(isinstance(listed, list), "samplers are missing; give a list of 1 to 4")
    assert isinstance(listed, list)
    found = [sampler_of(values, panel) for panel, values in enumerate(listed[: MOST_PANELS + 1])]
    rest = {name: value for name, value in asked.items() if name != "samplers"}
    return replace(from_dict(Play, rest), samplers=tuple(found))


def sampler_of(values: Any, panel: int) -> Sampler:
    try:
        require(isinstance(values, dict), f"sampler is {values!r}, but must be its fields")
        wrapped = from_dict(OneSampler, {"sampler": values})
        require(
            own_inside(wrapped.sampler) is None,
            "a sampler of your own is not imported here; choose one of the library",
        )
    except StanleyError as error:
        raise SamplerError(str(error), panel) from None
    return wrapped.sampler


@dataclass(frozen=True)
class OneSampler:
    """So that what is wrong is told of sampler.step_size, as everywhere."""

    sampler: AnySampler  # of one panel


class SecondHalf:
    """Sums of a vector over the second half of the steps so far, in memory that does not grow.

    Steps are summed in blocks, of one step until there are 256, then of two, and so on, so that the
    half is that of the steps to 1 part in 128.
    """

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.size = 1  # steps in a block
        self.open: np.ndarray | None = None
        self.inside = 0  # steps in the open block

    def add(self, vector: np.ndarray) -> None:
        self.open = vector if self.open is None else self.open + vector
        self.inside += 1
        if self.inside == self.size:
            self.blocks.append(self.open)
            self.open, self.inside = None, 0
        if len(self.blocks) == BLOCKS:
            self.blocks = [a + b for a, b in zip(self.blocks[::2], self.blocks[1::2], strict=True)]
            self.size *= 2

    def total(self) -> tuple[np.ndarray, int]:
        """The sum, and the number of steps in it."""
        first = len(self.blocks) // 2
        parts = self.blocks[first:] + ([] if self.open is None else [self.open])
        return np.sum(parts, 0), (len(self.blocks) - first) * self.size + self.inside


class Thinned:
    """At most 256 of the states so far, evenly spaced over all steps: every one until there are so
    many, then every other, and so on.
    """

    def __init__(self) -> None:
        self.kept: list[Tensor] = []
        self.every, self.seen = 1, 0

    def add(self, state: Tensor) -> None:
        self.seen += 1
        if self.seen % self.every == 0:
            self.kept.append(state)
        if len(self.kept) == DRAWS:
            self.kept, self.every = self.kept[1::2], 2 * self.every

    def second_half(self) -> Tensor | None:
        """(n, B, k), or None where there are not four yet."""
        half = self.kept[len(self.kept) // 2 :]
        return torch.stack(half) if len(half) >= 4 else None


class Panel:
    """The chains of one sampler."""

    def __init__(self, sampler: Sampler, stage: Stage, view: View, x0: Tensor, seed: int) -> None:
        self.sampler, self.stage, self.view = sampler, stage, view
        cost = traits_of(sampler).gradients + traits_of(sampler).potentials
        require(
            cost <= MOST_GRADIENTS,
            f"a step of this sampler takes {cost:,} evaluations of U or its gradient, but must "
            f"take at most {MOST_GRADIENTS} to be watched",
        )
        potential = potential_for(sampler, stage.potential)
        generator = stream(seed, "run_chains")  # that of run_chains(…, seed=seed)
        check_request(x0, 1, generator, None)
        self.step, _, self.state = begin(sampler, potential, x0)
        self.generator = generator
        self.totals = Totals(sampler, self.state)
        self.half, self.history = SecondHalf(), Thinned()
        self.gamma = torch.ones(len(x0))
        self.look()

    def advance(self) -> None:
        """One step of all chains."""
        before = self.state
        self.state, info = self.step(before, self.generator)
        self.totals.add(before, info)
        if info.scale is not None:
            self.gamma = info.scale
        self.look()
        f = functions(self.stage.potential, self.state.x[None])[0]
        self.half.add(np.concatenate([f.sum(0).numpy(), *self.counts()]))
        self.history.add(self.shown[:JUDGED])

    def look(self) -> None:
        """Where the chains are in the picture: (B, 2), and in whole numbers of a frame."""
        columns = self.stage.columns(self.state.x)
        self.shown = columns[:, list(self.view.coordinates)]
        self.placed = quantised(self.shown, self.view.window)

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How many chains are in each bin of both marginals."""
        x, y = (histogram(column) for column in self.placed)
        return x, y

    def frame(self) -> bytes:
        """The panel's part of a frame."""
        shown = self.placed.copy()
        shown[:, (shown == OUTSIDE).any(0)] = OUTSIDE
        gamma = (255 * self.gamma.double()).nan_to_num(0.0).clamp(0, 255).round().byte().numpy()
        body = shown.astype("<u2").tobytes() + gamma.tobytes()
        return body + b"\0" * (-len(body) % 4)

    def numbers(self, steps: int) -> dict[str, Any]:
        """What is told of the chains after so many steps; None for what is not known."""
        finite = finite_chains(self.state.x) & self.state.potential.isfinite()
        outside = torch.from_numpy((self.placed == OUTSIDE).any(0))
        told: dict[str, Any] = {
            "diverged": int((~finite).sum()),
            "outside": int((outside & finite).sum()),  # one may diverge in what is not shown
            "gradients": self.totals.num_gradients,
        }
        told |= dict.fromkeys(("acceptance", "gamma", "b2", "rhat", "ess", "histograms"))
        if steps == 0:
            return told
        if is_adjusted(self.sampler):
            told["acceptance"] = float(self.totals.sums.acceptance.mean()) / steps
        if self.totals.has_scale:
            told["gamma"] = number(float(self.totals.sums.scale.nanmean()) / steps)
        total, counted = self.half.total()
        points = counted * len(finite)
        mean = torch.from_numpy(total[: -2 * BINS]) / points
        told["b2"] = number(self.stage.moments.error(mean))
        told["histograms"] = (total[-2 * BINS :].reshape(2, BINS) / points).tolist()
        draws = self.history.second_half()
        if draws is not None:
            summary = summarise(draws)
            told["rhat"] = number(summary.worst_rhat)
            told["ess"] = number(summary.worst_ess_bulk)
        return told


class Scene:
    """All panels of what is watched, at the same step."""

    def __init__(self, play: Play, stage: Stage) -> None:
        self.play, self.stage, self.view = play, stage, view_of(stage, play.coordinates)
        size = play.chains * stage.mean.numel()
        require(
            size <= MOST_NUMBERS,
            f"{play.chains:,} chains of {stage.mean.numel():,} coordinates are {size:,} numbers, "
            f"but must be at most {MOST_NUMBERS:,}; take fewer chains",
        )
        self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        """All chains at their start."""
        self.steps = 0
        x0, self.panels = start(self.play, self.stage), []
        for place, sampler in enumerate(self.play.samplers):
            with told_of(place):
                panel = Panel(sampler, self.stage, self.view, x0, self.play.seed)
                self.panels.append(panel)

    @torch.no_grad()
    def advance(self, steps: int, seconds: float) -> int:
        """So many steps of every sampler, or as many as `seconds` allow, but one at least; returns
        their number.
        """
        end = time.perf_counter() + seconds
        for n in range(1, steps + 1):
            for place, panel in enumerate(self.panels):
                with told_of(place):
                    panel.advance()
            self.steps += 1
            if time.perf_counter() >= end:
                return n
        return steps

    def frame(self, number: int) -> bytes:
        head = HEADER.pack(number, self.steps, self.play.chains, len(self.panels))
        return head + b"".join(panel.frame() for panel in self.panels)

    def numbers(self) -> dict[str, Any]:
        return {"step": self.steps, "panels": [p.numbers(self.steps) for p in self.panels]}


class told_of:
    """Whatever goes wrong inside is told in one line, of the panel it is in."""

    def __init__(self, panel: int) -> None:
        self.panel = panel

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, SamplerError):
            line = str(error) if isinstance(error, StanleyError) else in_one_line(error)
            raise SamplerError(line, self.panel) from error


def start(play: Play, stage: Stage) -> Tensor:
    """Where the chains of every sampler begin, (B, *event)."""
    if play.start == "noise":
        return stage.noise(play.chains, play.width, play.seed)
    if play.start == "mode":
        point = stage.mode()
    else:
        require(
            not stage.has_named_parameters,
            f"start is 'point', but the coordinates of {stage.name} are named parameters, in which "
            "a chain does not move; start from noise or the mode",
        )
        point = stage.mean.clone()
        point.view(-1)[list(play.coordinates)] = torch.tensor(play.point).to(point)
    return point.expand(play.chains, *point.shape).clone()


def quantised(points: Tensor, window: Window) -> np.ndarray:
    """Points (B, 2) as whole numbers (2, B): 0 at the left and lower edge of the window, 65534 at
    the other, each to half a unit; 65535 for a coordinate outside or not finite.
    """
    left, right, bottom, top = window
    low, high = np.array([left, bottom]), np.array([right, top])
    share = (points.double().numpy() - low) / (high - low)
    with np.errstate(invalid="ignore"):  # NaN compares false: it is outside
        inside = (share >= 0) & (share <= 1)
    return np.where(inside, np.rint(EDGE * np.where(inside, share, 0)), OUTSIDE).astype(int).T


def histogram(column: np.ndarray) -> np.ndarray:
    """How many whole numbers of a frame are in each bin of the window."""
    bins = np.where(column == OUTSIDE, BINS, np.minimum(column * BINS // EDGE, BINS - 1))
    return np.bincount(bins, minlength=BINS + 1)[:BINS].astype(float)


def number(value: float) -> float | None:
    """For JSON, which knows no infinity and no NaN."""
    return value if np.isfinite(value) else None
