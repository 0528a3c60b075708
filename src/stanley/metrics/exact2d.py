"""Log Z, KL and total variation of a 2-D energy by quadrature, with an error estimate.

    Z = ∫ exp(-U) ≈ h² Σ_ij exp(-U(x_ij)),   x_ij the centres of n × n cells of side h = 2R/n
                                             in the box [-R, R]²

The midpoint rule converges faster than any power of h for smooth integrands that vanish at the
border: for a Gaussian of standard deviation σ the relative error is 2 exp(-2π²σ²/h²) per axis, 5e-9
at h = σ. Kinks (of a ReLU network, or of |p - q| in the total variation) reduce it to about h². n
is even, so that the origin is not a node.

R grows by 5/4 until the outermost 1/16 of the box on each side holds less than 1e-8 of the mass.
Then n grows by 3/2 until the last change is below rel_tol and the one before it below √rel_tol:
two changes, since the errors of two grids can agree by accident (modes at thirds of a cell). Not
true: that every mode is seen: a spike narrower than h can lie between the nodes. `judge_density`
therefore refines the grid until the data density integrates to 1; `log_z` has no such check.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from stanley.batches import finite_chains, in_chunks
from stanley.errors import StanleyError, require
from stanley.samplers.base import values
from stanley.types import Energy, in_float32, networks_in, rewrapped

LogDensity = Callable[[Tensor], Tensor]  # (B, 2) -> (B,)

START_BOX = 6.0
START_CELLS = 96  # cells a side on the start box
MAX_CELLS = 2500  # 6 million nodes
MAX_GROWTH = 20.0  # largest box, in units of the start box
GROW = 1.5  # factor by which n grows
GROW_BOX = 1.25  # factor by which the box grows
BORDER_LIMIT = 1e-8  # largest share of the mass at the border
CHUNK = 1 << 12


@dataclass(frozen=True)
class LogZ:
    """log ∫ exp(-U) over [-box, box]², on a grid of grid_size × grid_size cells.

    border          share of the mass in the outermost 1/16 of the box on each side
    error_estimate  |change of log Z| from the grid with 2/3 as many cells per side
    """

    value: float
    box: float
    grid_size: int
    border: float
    error_estimate: float


@dataclass(frozen=True)
class Exact2D:
    """How far a model q = exp(-U)/Z is from a known density p, by quadrature over [-box, box]².

    kl              KL(p‖q) = ∫ p log(p/q), in nats
    tv              total variation ½ ∫ |p - q|, in [0, 1]
    entropy_data    -∫ p log p in nats, the negative log-likelihood of a perfect model
    border          share of the mass in the outermost 1/16 of the box on each side, the larger of
                    that of p and that of q
    error_estimate  the larger |change| of log Z and of KL from the grid with 2/3 as many cells per
                    side
    tv_error        the same for the total variation, which converges more slowly because of its
                    kinks; no limit is set on it
    """

    log_z: float
    kl: float
    tv: float
    entropy_data: float
    box: float
    grid_size: int
    border: float
    error_estimate: float
    tv_error: float


def log_z(
    potential: Energy,
    box: float | None = None,
    rel_tol: float = 1e-6,
    max_box: float | None = None,
    max_cells: int = MAX_CELLS,
) -> LogZ:
    """log Z = log ∫ exp(-U) over the plane, refined until it changes by less than `rel_tol`.

    potential   U: (B, 2) -> (B,). A module, or a Potential of one, is evaluated as a float64 copy
                on its own device; any other function on the CPU, in float64 if it can be.
    box         half-width R of the first box, 6 by default; it grows up to `max_box`, 20 R by
                default
    max_cells   largest number of cells per side

    Raises StanleyError if log Z does not settle, or if U is NaN on the grid. Takes about 1.5 s for
    a 128-128-1 SiLU network on one core.
    """
    start = START_BOX if box is None else box
    evaluate, n = _Evaluator.of(potential), START_CELLS
    R = _confine(evaluate.minus_potential, start, n, max_box or MAX_GROWTH * start, "exp(-U)")
    n = _first_of_three(n * R / start, max_cells)
    values: list[float] = []
    while True:
        f = evaluate.minus_potential(R, n)
        values.append(_log_integral(f, R, n))
        border, error = _border_share(f, n), _last_change(values)
        if _settled(values, rel_tol):
            return LogZ(values[-1], R, n, border, error)
        if _even(GROW * n) > max_cells:
            raise StanleyError(
                _unsettled(f"log Z = {values[-1]:.6g}", error, R, n, border, rel_tol)
            )
        n = _even(GROW * n)


def judge_density(
    potential: Energy,
    log_density: LogDensity,
    start_box: float | None = None,
    rel_tol: float = 1e-6,
    max_box: float | None = None,
    max_cells: int = MAX_CELLS,
) -> Exact2D:
    """Log Z, KL(p‖q) and total variation of a model q ∝ exp(-U), given a density p, by quadrature.

    log_density   log p: (B, 2) -> (B,), normalised
    start_box     half-width of the first box; see `log_z` for it and for the other limits

    The grid is refined until ∫ p = 1 within `rel_tol`, and then until log Z changes by less than
    `rel_tol` and KL by less than `rel_tol`·max(1, KL). Raises StanleyError if that does not happen
    within `max_cells`, or if ∫ p is not 1 within 1e-5.
    """
    start = START_BOX if start_box is None else start_box
    limit = max_box or MAX_GROWTH * start
    evaluate = _Evaluator.of(potential)
    data = partial(_on_cells, _as_float64(log_density), torch.device("cpu"))

    R = _confine(data, start, START_CELLS, limit, "the data density")
    n = _resolve_data(
        data, R, _first_of_three(START_CELLS * R / start, max_cells), rel_tol, max_cells
    )
    wide = _confine(evaluate.minus_potential, R, START_CELLS, limit, "exp(-U)")
    n, R = _first_of_three(n * wide / R, max_cells), wide

    log_zs: list[float] = []
    kls: list[float] = []
    tvs: list[float] = []
    while True:
        log_p = data(R, n)
        result = _compare(log_p, evaluate.minus_potential(R, n).cpu(), R, n)
        log_zs.append(result.log_z)
        kls.append(result.kl)
        tvs.append(result.tv)
        error = max(_last_change(log_zs), _last_change(kls))
        if _settled(log_zs, rel_tol) and _settled(kls, rel_tol * max(1.0, result.kl)):
            _require_unit_mass(log_p, R, n)
            return replace(result, error_estimate=error, tv_error=_last_change(tvs))
        if _even(GROW * n) > max_cells:
            what = f"log Z = {result.log_z:.6g}, KL = {result.kl:.6g}"
            raise StanleyError(_unsettled(what, error, R, n, result.border, rel_tol))
        n = _even(GROW * n)


def kl(log_density: LogDensity, potential: Energy, start_box: float | None = None) -> float:
    """KL(p‖q) = ∫ p log(p/q) in nats, with q = exp(-U)/Z; see `judge_density`."""
    return judge_density(potential, log_density, start_box).kl


def total_variation(
    log_density: LogDensity, potential: Energy, start_box: float | None = None
) -> float:
    """Total variation ½ ∫ |p - q|, with q = exp(-U)/Z; see `judge_density`."""
    return judge_density(potential, log_density, start_box).tv


def nll(potential: Energy, x: Tensor, log_z: float) -> float:
    """Negative log-likelihood, the mean of U(x) + log Z over points x (B, 2), in nats per point.

    U is evaluated as by the function `log_z`, whose value is the argument of that name.
    """
    evaluate = _Evaluator.of(potential)
    return float(in_chunks(evaluate, x, CHUNK).sum()) / x.shape[0] + log_z


def density_on_grid(potential: Energy, box: float, n: int) -> Tensor:
    """The density q ∝ exp(-U) on a grid, for pictures: (n, n) float64, rows are y, columns are x.

    Its values are those at the centres of n × n cells of [-box, box]². They are normalised over the
    box, so that they sum to n²/(4 box²). To show it, use
    `imshow(q, origin="lower", extent=(-box, box, -box, box))`.
    """
    f = _Evaluator.of(potential).minus_potential(box, n).cpu()
    return (f - _log_integral(f, box, n)).exp().reshape(n, n)


def half_side(points: Tensor) -> float:
    """Half the side of a square about 0 that shows points (N, 2): 1.2 times the farthest of 99.5 %
    of them in either coordinate, so that a few far ones do not make the others small; those that
    are not finite do not count. 1 where there is nothing to measure.
    """
    farthest = points[finite_chains(points)].double().abs().flatten(1).amax(1)
    if len(farthest) == 0:
        return 1.0
    rank = math.ceil(0.995 * len(farthest))  # torch.quantile takes no more than 2^24 numbers
    return 1.2 * float(farthest.kthvalue(rank).values) or 1.0


@dataclass(frozen=True)
class _Evaluator:
    """U in float64 on the device of its network, in chunks and without autograd."""

    potential: Energy
    device: torch.device

    @classmethod
    def of(cls, potential: Energy) -> _Evaluator:
        tensors = (
            t
            for network in networks_in(potential)
            for t in (*network.parameters(), *network.buffers())
        )
        device = next((t.device for t in tensors), torch.device("cpu"))
        return cls(_as_float64(potential, device), device)

    def __call__(self, x: Tensor) -> Tensor:
        return values(self.potential, x.to(self.device, torch.float64))

    def minus_potential(self, R: float, n: int) -> Tensor:  # (n²,)
        return -_on_cells(self, self.device, R, n)


def _as_float64(f: Energy, device: torch.device | None = None) -> Energy:
    """f as a function of float64 points, evaluated in float64 where that is possible.

    Networks in it are replaced by float64 copies. If a function in it accepts float32 points only,
    the points are rounded to float32 and the values converted to float64.
    """
    exact = rewrapped(
        in_float32(f), lambda u: copy.deepcopy(u).double() if isinstance(u, nn.Module) else u
    )
    if isinstance(exact, nn.Module):
        return exact
    probe = torch.full((1, 2), 0.5, dtype=torch.float64, device=device)
    try:
        with torch.no_grad():
            exact(probe)
    except RuntimeError:  # float32 weights inside a function
        unrounded = in_float32(f)
        return lambda x: values(unrounded, x.float()).double()
    return exact


def _on_cells(f: Energy, device: torch.device, R: float, n: int) -> Tensor:
    """f at the centres of n × n cells of [-R, R]²: (n²,) float64, the first coordinate fastest."""
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * R / n) - R
    values = torch.cat([_checked_values(f, x.to(device)) for x in _points(axis)])
    bad = int(values.isnan().sum())
    require(
        bad == 0,
        f"{bad} of {n * n} energies on the box ±{R:g} are NaN; check whether the network has"
        " diverged or overflows",
    )
    return values.double()


def _points(axis: Tensor) -> Iterator[Tensor]:
    n = axis.numel()
    for ys in axis.split(max(1, CHUNK // n)):
        y, x = torch.meshgrid(ys, axis, indexing="ij")
        yield torch.stack([x.reshape(-1), y.reshape(-1)], dim=1)


def _checked_values(f: Energy, x: Tensor) -> Tensor:
    with torch.no_grad():
        values = f(x)
    require(
        values.shape == (x.shape[0],),
        f"a batch of {x.shape[0]} points gave values of shape {tuple(values.shape)}, but they must"
        f" have shape ({x.shape[0]},)",
    )
    return values


def _log_integral(log_f: Tensor, R: float, n: int) -> float:
    return float(torch.logsumexp(log_f, dim=0)) + 2 * math.log(2 * R / n)


def _border_share(log_f: Tensor, n: int) -> float:
    """Share of ∫ f in the outermost 1/16 of the box on each side."""
    top = float(log_f.max())
    require(
        math.isfinite(top),
        f"the largest log-density on a {n}² grid is {top}, but must be finite; check the energy"
        " for values of ±inf",
    )
    width = max(1, n // 16)
    share = torch.softmax(log_f, dim=0).reshape(n, n)
    sides = share[width:-width, :width].sum() + share[width:-width, -width:].sum()
    return float(share[:width].sum() + share[-width:].sum() + sides)


def _even(n: float) -> int:
    return 2 * math.ceil(n / 2 - 1e-9)


def _confine(
    log_f: Callable[[float, int], Tensor], R: float, n: int, max_box: float, name: str
) -> float:
    """The first of the half-widths R, 5R/4, ... whose border holds a negligible share of ∫ f."""
    require(R > 0, f"box is {R:g}, but must be > 0: the half-width of the square to integrate over")
    while True:
        border = _border_share(log_f(R, n), n)
        if border < BORDER_LIMIT:
            return R
        require(
            max_box >= GROW_BOX * R,
            f"log Z did not settle: on the box ±{R:g} the share {border:.2g} of the mass of {name}"
            f" is at the border, but must be below {BORDER_LIMIT:g}; its tails are heavy or not"
            " integrable: add a Gaussian reference |x|²/(2s²), or raise max_box",
        )
        R *= GROW_BOX


def _resolve_data(
    data: Callable[[float, int], Tensor], R: float, n: int, rel_tol: float, max_cells: int
) -> int:
    """The first of the grids n, 3n/2, ... on which ∫ p = 1 within rel_tol.

    If there is none, it is the finest grid, on which ∫ p must be 1 within 1e-5.
    """
    while True:
        log_p = data(R, n)
        if abs(_log_integral(log_p, R, n)) <= rel_tol:
            return n
        if _even(GROW * n) > max_cells:
            _require_unit_mass(log_p, R, n)
            return n
        n = _even(GROW * n)


def _require_unit_mass(log_p: Tensor, R: float, n: int) -> None:
    mass = math.exp(_log_integral(log_p, R, n))
    require(
        abs(mass - 1) <= 1e-5,
        f"the data density integrates to {mass:.8g} over ±{R:g} on a {n}² grid, but its integral"
        " must be 1 within 1e-5; normalise it, or raise max_cells if it has details narrower than"
        f" {2 * R / n:.2g}",
    )


def _first_of_three(n: float, max_cells: int) -> int:
    """n, but at most the number of cells that can still be refined twice within max_cells."""
    return _even(min(n, (max_cells - 4) / GROW**2))


def _last_change(values: list[float]) -> float:
    """|v_k - v_{k-1}|, which is 0 for two equal infinities, and infinite if k = 0."""
    if len(values) < 2:
        return math.inf
    return 0.0 if values[-1] == values[-2] else abs(values[-1] - values[-2])


def _settled(values: list[float], tol: float) -> bool:
    """Whether the last change is below tol and the one before it below √tol."""
    return _last_change(values) < tol and _last_change(values[:-1]) < math.sqrt(tol)


def _compare(log_p: Tensor, minus_u: Tensor, R: float, n: int) -> Exact2D:
    log_z = _log_integral(minus_u, R, n)
    log_q = minus_u - log_z
    cell = (2 * R / n) ** 2
    p, q = log_p.exp(), log_q.exp()
    seen = p > 0  # 0 log 0 = 0
    return Exact2D(
        log_z=log_z,
        kl=float((p[seen] * (log_p[seen] - log_q[seen])).sum()) * cell,
        tv=float((p - q).abs().sum()) * cell / 2,
        entropy_data=-float((p[seen] * log_p[seen]).sum()) * cell,
        box=R,
        grid_size=n,
        border=max(_border_share(log_p, n), _border_share(minus_u, n)),
        error_estimate=math.nan,
        tv_error=math.nan,
    )


def _unsettled(what: str, error: float, R: float, n: int, border: float, rel_tol: float) -> str:
    return (
        f"log Z did not settle: {what}; its last change is {error:.2g}, but must be below"
        f" {rel_tol:g} (box ±{R:g}, mass at the border {border:.2g}, grid {n}²); raise rel_tol (for"
        " networks with kinks) or max_cells"
    )
