"""What chains are watched on: a density, what is known of it, and two of its coordinates."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stanley.comparing.moments import Moments, exact_moments, moments_of
from stanley.errors import StanleyError, require
from stanley.judging.coordinates import columns_of, names_of, parameters_of
from stanley.judging.draw import NotConverged, draw
from stanley.models.trained import load
from stanley.samplers.base import values
from stanley.streams import stream
from stanley.targets import Target
from stanley.targets.by_name import find
from stanley.types import Energy

GRID = 192  # cells a side of the picture in the plane, whose density is known at each
WIDE = 256  # and of the half of the grid that moments are taken on
COARSE = 96  # and of one that is counted from draws
BINS = 64  # of a marginal
SHOWN = 1.25  # half the picture, in units of half the way from the 1 % to the 99 % quantile
AT_ONCE = 4096  # points at which U is taken together
DRAWS, NUMBERS = 200_000, 4_000_000  # exact draws of a density, and numbers in them, at most
BUDGET = 4_000  # gradients of each of the chains that a density without exact draws is known by
LARGEST = 1_000  # coordinates of a density that can be watched

#: left, right, bottom, top
Window = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Stage:
    """A density and what its chains are held against.

    mean, std  (*event), of the normal law that chains start from as long as nothing else is asked:
               those of the density, by its quantiles, or of the noise that a run was trained with
    names      of the coordinates that can be watched
    draws      (n, *event) of the density; None in the plane, where the grid says more
    moments    what the means of the coordinates and of their squares should be
    source     where `moments` and the marginals come from, in words
    python     lines that make `potential` and the shape of its points, for a person to copy
    """

    name: str
    potential: Energy
    mean: Tensor
    std: Tensor
    names: tuple[str, ...]
    draws: Tensor | None
    moments: Moments
    source: str
    python: str

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.mean.shape)

    @property
    def has_named_parameters(self) -> bool:
        return parameters_of(self.potential) is not None

    def columns(self, x: Tensor) -> Tensor:
        """The coordinates that can be watched, (B, k), of chains x (B, *event)."""
        return columns_of(self.potential, x[None])[0]

    def noise(self, num: int, width: float, seed: int) -> Tensor:
        """`num` starts from N(mean, (width·std)²)."""
        z = torch.randn(
            num, *self.event_shape, generator=stream(seed, "start"), dtype=self.mean.dtype
        )
        return self.mean + width * self.std * z

    def mode(self) -> Tensor:
        """(*event), the likeliest of the points of the grid, or of 4,096 draws."""
        if self.draws is None:
            points = Grid.of(self.potential, window_of(self), GRID, self.mean.dtype).points
        else:
            points = self.draws[:AT_ONCE].to(self.mean)
        return points[values(self.potential, points, AT_ONCE).nan_to_num(torch.inf).argmin()]


def of_density(
    name: str, *, shape: tuple[int, ...] | None = None, log_density: bool = False
) -> Stage:
    """The stage of a density by its name; one that is named as code, file.py:U, is imported.

    Raises StanleyError as `targets.by_name.find` does, whose arguments these are.
    """
    found = find(name, shape=shape, log_density=log_density)
    zero = torch.zeros(found.event_shape, dtype=found.dtype)
    given = [repr(name)]
    given += [] if shape is None else [f"shape={shape}"]
    given += ["log_density=True"] if log_density else []
    python = (
        f"from stanley.targets.by_name import find\n\ndensity = find({', '.join(given)}).potential"
    )
    return on_its_scale(staged(name, found.potential, zero, torch.ones_like(zero), python))


def of_run(path: Path, name: str) -> Stage:
    """The stage of a run's energy, on the points that its training saw.

    Raises StanleyError for a run that cannot be loaded, or whose points are images.
    """
    model = load(path, device="cpu").standardised
    require(
        not model.is_image,
        f"{name} is a run on images, whose coordinates are pixels; its page shows how they are "
        "drawn",
    )
    python = (
        f"from stanley import load\n\n"
        f"density = load({str(path)!r}, device='cpu').standardised.potential"
    )
    found = staged(name, model.potential, model.noise.mean, model.noise.std, python)
    return found if model.columns is None else replace(found, names=model.columns)


def staged(name: str, potential: Energy, mean: Tensor, std: Tensor, python: str) -> Stage:
    size = mean.numel()
    require(
        2 <= size <= LARGEST,
        f"{name} has {size:,} coordinates, but must have 2 to {LARGEST:,} to be watched",
    )
    names, exact = names_of(potential, tuple(mean.shape)), exact_moments(potential)
    if tuple(mean.shape) == (2,) and parameters_of(potential) is None:
        plain = Stage(name, potential, mean, std, names, None, Moments(mean, std, ""), "", python)
        moments = exact or moments_in_plane(plain)
        source = "exact" if exact is not None else "by quadrature in the plane"
        return Stage(name, potential, mean, std, names, None, moments, source, python)
    draws, source = reference(name, potential, mean)
    moments = exact or moments_of(draws[:, None], potential, source)
    return Stage(name, potential, mean, std, names, draws, moments, source, python)


def on_its_scale(stage: Stage) -> Stage:
    """The stage whose starts are as wide as the density: of each coordinate the median and half of
    the way from the 16 % to the 84 % quantile, to two digits.
    """
    if stage.draws is None:
        low, middle, high = quantiles_in_plane(stage, 0.16, 0.5, 0.84).unbind(1)
    else:
        low, middle, high = (stage.draws.double().quantile(q, 0) for q in (0.16, 0.5, 0.84))
    std = [two_digits(v, v) for v in ((high - low) / 2).clamp(min=1e-6).flatten().tolist()]
    mean = [two_digits(m, s) for m, s in zip(middle.flatten().tolist(), std, strict=True)]
    mean, std = (torch.tensor(v).to(stage.mean).view(stage.event_shape) for v in (mean, std))
    return replace(stage, mean=mean, std=std)


def two_digits(value: float, unit: float) -> float:
    """The value to two digits of a unit."""
    return round(value, 1 - math.floor(math.log10(unit))) + 0.0  # no −0


def quantiles_in_plane(stage: Stage, *probabilities: float) -> Tensor:
    """(2, k), of both coordinates."""
    grid = Grid.of(stage.potential, window_of(stage), GRID, stage.mean.dtype)
    return grid.quantiles(*probabilities)


def reference(name: str, potential: Energy, like: Tensor) -> tuple[Tensor, str]:
    """Draws (n, *event) of a density, and what they are in words: exact where it has such, else of
    long chains of an exact sampler.
    """
    if isinstance(potential, Target):
        n = max(AT_ONCE, min(DRAWS, NUMBERS // like.numel()))
        try:
            return potential.sample(n, stream(0, "reference")), f"from {n:,} exact draws"
        except StanleyError:  # it has none
            pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)  # it is told with the source
        found = draw(potential, tuple(like.shape), budget=BUDGET, seed=0, dtype=like.dtype)
    require(
        found.points.isfinite().all(),
        f"{name}: chains of an exact sampler did not stay finite on it; is exp(-U) a density?",
    )
    points = found.points.flatten(0, 1)
    steps, chains = found.points.shape[:2]
    doubt = "" if found.converged else ", which have not converged"
    return points, f"from {chains} chains of {steps:,} draws by ChEES-HMC{doubt}"


@dataclass(frozen=True, eq=False)
class Grid:
    """U at the centres of 2n × 2n cells, of which the inner n × n are the window."""

    points: Tensor  # (4n², 2), the first coordinate fastest
    share: Tensor  # (2n, 2n) float64, of exp(-U) in each cell; rows from below
    unknown: int  # cells in which U is NaN, whose share is 0

    @classmethod
    def of(cls, potential: Energy, window: Window, n: int, dtype: torch.dtype) -> Grid:
        left, right, bottom, top = window
        place = (torch.arange(2 * n, dtype=torch.float64) + 0.5) / n - 0.5
        y, x = torch.meshgrid(
            bottom + (top - bottom) * place, left + (right - left) * place, indexing="ij"
        )
        points = torch.stack([x.flatten(), y.flatten()], 1).to(dtype)
        log_p = -values(potential, points, AT_ONCE).double()
        nan = log_p.isnan()
        require(
            not nan.all() and log_p[~nan].max().isfinite(),
            "U is not finite anywhere near the start of its chains: there is nothing to show",
        )
        share = torch.softmax(log_p.masked_fill(nan, -torch.inf), 0)
        return cls(points, share.view(2 * n, 2 * n), int(nan.sum()))

    @property
    def inner(self) -> Tensor:
        """(n, n), the share of each cell of the window."""
        n = len(self.share) // 2
        return self.share[n // 2 : n // 2 + n, n // 2 : n // 2 + n]

    @property
    def border(self) -> float:
        """The share outside of the window."""
        return 1 - float(self.inner.sum())

    def quantiles(self, *probabilities: float) -> Tensor:
        """(2, k), of both coordinates, to a cell."""
        side = len(self.share)
        axes = self.points.view(side, side, 2).double()
        found = []
        for axis, along in ((axes[0, :, 0], 0), (axes[:, 0, 1], 1)):
            below = self.share.sum(along).cumsum(0)
            at = torch.searchsorted(below, torch.tensor(probabilities, dtype=torch.float64))
            found.append(axis[at.clamp(max=side - 1)])
        return torch.stack(found)


def moments_in_plane(stage: Stage) -> Moments:
    """Those of the coordinates and their squares, from U on four times the window."""
    left, right, bottom, top = window_of(stage)
    dx, dy = (right - left) / 2, (top - bottom) / 2
    wide = (left - dx, right + dx, bottom - dy, top + dy)
    grid = Grid.of(stage.potential, wide, WIDE, stage.mean.dtype)
    y, p = grid.points.double(), grid.share.flatten()[:, None]
    f = torch.cat([y, y**2], 1)
    mean = (p * f).sum(0)
    return Moments(mean, (p * (f - mean) ** 2).sum(0), "by quadrature in the plane")


def window_of(stage: Stage, coordinates: tuple[int, int] = (0, 1)) -> Window:
    """What of two coordinates is shown: 1.25 times the way from their 1 % to their 99 % quantile; a
    square in the plane, where both are lengths of one space.
    """
    if stage.draws is None:
        return window_in_plane(stage)
    shown = stage.columns(stage.draws)[:, list(coordinates)].double()
    low, high = (
        torch.stack([column.quantile(q) for column in shown[:DRAWS].T]) for q in (0.01, 0.99)
    )
    return framed((low + high) / 2, SHOWN * (high - low) / 2)


def framed(centre: Tensor, half: Tensor) -> Window:
    half = half.clamp(min=1e-6)
    (left, bottom), (right, top) = (centre - half).tolist(), (centre + half).tolist()
    return left, right, bottom, top


def window_in_plane(stage: Stage) -> Window:
    """The square that holds the mass, found from the law of the starts: wider as long as mass lies
    outside, then narrower as long as most of it is empty.
    """
    centre, half = stage.mean.double(), 4 * stage.std.double().max().expand(2)
    for _ in range(12):
        grid = Grid.of(stage.potential, framed(centre, half), 64, stage.mean.dtype)
        low, high = grid.quantiles(0.01, 0.99).unbind(1)
        wanted = (SHOWN * (high - low).max() / 2).clamp(min=float(half[0]) / 16).expand(2)
        settled = grid.border < 0.02 and bool(wanted[0] > 0.6 * half[0])
        centre = (low + high) / 2
        half = wanted if grid.border < 0.02 else 2 * half
        if settled:
            break
    return framed(centre, half)


@dataclass(frozen=True, eq=False)
class View:
    """The picture of two coordinates.

    shades     (n, n) uint8, 255·√(p/p_max), rows from above
    marginals  (2, BINS), the share of the density in each bin of the window
    note       what is to be said of it, or nothing
    """

    coordinates: tuple[int, int]
    window: Window
    shades: np.ndarray
    marginals: np.ndarray
    note: str = ""


def view_of(stage: Stage, coordinates: tuple[int, int] = (0, 1)) -> View:
    """Raises StanleyError for coordinates that the density does not have."""
    i, j = coordinates
    last = len(stage.names) - 1
    require(
        0 <= i <= last and 0 <= j <= last and i != j,
        f"coordinates are {i} and {j}, but must be two different ones of 0 to {last}, those of "
        f"{stage.name}",
    )
    window = window_of(stage, coordinates)
    if stage.draws is not None:
        shown = stage.columns(stage.draws)[:, [i, j]]
        cells, marginals = counted(shown, window)
        return View(coordinates, window, shades_of(cells), marginals)
    left, right, bottom, top = window
    if (i, j) != (0, 1):
        left, right, bottom, top = bottom, top, left, right
    grid = Grid.of(stage.potential, window, GRID, stage.mean.dtype)
    note = f"U is not a number at {grid.unknown:,} of {len(grid.points):,} points" * (
        grid.unknown > 0
    )
    inner = grid.inner
    in_bins = GRID // BINS
    # the second coordinate may have mass above and below the window, and the first beside it
    n = GRID
    columns = grid.share[:, n // 2 : n // 2 + n].sum(0).view(BINS, in_bins).sum(1)
    rows = grid.share[n // 2 : n // 2 + n].sum(1).view(BINS, in_bins).sum(1)
    marginals = torch.stack([columns, rows])
    if (i, j) != (0, 1):
        inner, marginals = inner.T, marginals.flip(0)
    return View(coordinates, (left, right, bottom, top), shades_of(inner), marginals.numpy(), note)


def counted(shown: Tensor, window: Window) -> tuple[Tensor, np.ndarray]:
    """Points (n, 2) as counts of cells, smoothed over neighbours, and as shares of bins."""
    left, right, bottom, top = window
    points = shown.double().numpy()
    cells, _, _ = np.histogram2d(
        points[:, 1], points[:, 0], bins=COARSE, range=((bottom, top), (left, right))
    )
    marginals = [
        np.histogram(points[:, k], BINS, edges)[0] / len(points)
        for k, edges in enumerate(((left, right), (bottom, top)))
    ]
    return smoothed(torch.from_numpy(cells)), np.stack(marginals)


def smoothed(cells: Tensor) -> Tensor:
    """Each cell as ¼, ½, ¼ of itself and its neighbours, along both sides."""
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=cells.dtype)
    both = (kernel[:, None] * kernel)[None, None]
    return torch.nn.functional.conv2d(cells[None, None], both, padding=1)[0, 0]


def shades_of(density: Tensor) -> np.ndarray:
    """255·√(p/p_max) as uint8, rows from above; p_max is exceeded in one cell of a thousand, so
    that a peak does not make all else dark.
    """
    peak = density.flatten().quantile(0.999).clamp(min=1e-300)
    return (255 * (density / peak).clamp(0, 1).sqrt()).round().byte().flip(0).numpy()
