"""log Z, KL and total variation of a 2-D energy by quadrature: numbers with an error, not sample
estimates.

    Z = ∫ exp(-U) ≈ h² Σ_ij exp(-U(x_ij)),   x_ij the centres of n × n cells of side h = 2R/n on
                                             [-R, R]²

The midpoint rule converges faster than any power of h for smooth integrands that vanish at the
border: a Gaussian of standard deviation σ has relative error 2 exp(-2π²σ²/h²) an axis, 5e-9 at h =
σ. Kinks (a ReLU network, the |p - q| of the total variation) bring it back to about h². n is even,
so the origin is no node. R grows by 5/4 until the outermost 1/16 of the box on each side holds less
than 1e-8 of the mass, n grows by 3/2 until nothing changes: the last change is below rel_tol and
the one before below √rel_tol, since the errors of two grids can agree by accident (modes at thirds
of a cell). A spike narrower than h that no node touches is not seen: `judge_density` resolves the
data density first, which must integrate to 1; `log_z` knows nothing to resolve but the energy.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from stanley.batches import in_chunks
from stanley.errors import StanleyError, require
from stanley.samplers.base import values
from stanley.types import Energy, in_float32, networks_in, rewrapped

LogDensity = Callable[[Tensor], Tensor]  # (B, 2) -> (B,)

START_BOX = 6.0
START_CELLS = 96  # cells a side on the start box
MAX_CELLS = 2500  # 6 million nodes
MAX_GROWTH = 20.0  # of the box
GROW = 1.5  # of n
GROW_BOX = 1.25
BORDER_LIMIT = 1e-8  # share of the mass
CHUNK = 1 << 12


@dataclass(frozen=True)
class LogZ:
    """log ∫ exp(-U) over [-box, box]².

    border          share of the mass in the outermost 1/16 of the box on each side.
    error_estimate  |change of log Z| from a grid with 2/3 of the cells a side to this one.
    """

    value: float
    box: float
    grid_size: int
    border: float
    error_estimate: float


@dataclass(frozen=True)
class Exact2D:
    """How far a model q = exp(-U)/Z is from a known density p, in nats, by quadrature over [-box,
    box]².

    kl              KL(p‖q) = ∫ p log(p/q).
    tv              ½ ∫ |p - q|, in [0, 1].
    entropy_data    -∫ p log p: the negative log-likelihood of a perfect model.
    border          the larger share of mass of p and of q in the outermost 1/16 of the box on each
                    side.
    error_estimate  largest |change| of log Z and of KL from a grid with 2/3 of the cells a side to
                    this one.
    tv_error        the same for the total variation, whose kinks converge more slowly; no limit is
                    set on it.
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
    """log ∫ exp(-U) over the plane, to a change below `rel_tol`; StanleyError when it does not
    settle.

    box   half-width R to start from (6); grows up to `max_box` (20 R).
    A module, or a Potential of one, is evaluated as a float64 copy on its own device; any other
    function on the CPU, in float64 if it can. About 1.5 s for a 128-128-1 SiLU network on one core.
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
    """Exact log Z, KL(p‖q) and total variation of q ∝ exp(-U) against a normalised p =
    exp(log_density).

    First the grid is refined until ∫ p = 1 within `rel_tol` (error when 1e-5 is out of reach), then
    until log Z changes by less than `rel_tol` and KL by less than `rel_tol`·max(1, KL).
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
    """KL(p‖q) = ∫ p log(p/q) in nats, q = exp(-U)/Z; see `judge_density`."""
    return judge_density(potential, log_density, start_box).kl


def total_variation(
    log_density: LogDensity, potential: Energy, start_box: float | None = None
) -> float:
    """½ ∫ |p - q|, q = exp(-U)/Z; see `judge_density`."""
    return judge_density(potential, log_density, start_box).tv


def nll(potential: Energy, x: Tensor, log_z: float) -> float:
    """Mean of U(x) + log Z over the rows of x (B, 2): nats a point, evaluated as `log_z` was."""
    evaluate = _Evaluator.of(potential)
    return float(in_chunks(evaluate, x, CHUNK).sum()) / x.shape[0] + log_z


def density_on_grid(potential: Energy, box: float, n: int) -> Tensor:
    """q at the centres of n × n cells of [-box, box]², normalised there: (n, n) float64, rows y,
    columns x.

    For pictures: sums to n²/(4 box²). `imshow(q, origin="lower", extent=(-box, box, -box, box))`.
    """
    f = _Evaluator.of(potential).minus_potential(box, n).cpu()
    return (f - _log_integral(f, box, n)).exp().reshape(n, n)


@dataclass(frozen=True)
class _Evaluator:
    """U in float64 on the device of its network, in chunks, without a graph."""

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
    """f of float64 points: with float64 copies of its networks and nothing rounded, or, where a
    function inside it takes float32 points alone, f of those."""
    exact = rewrapped(
        in_float32(f), lambda u: copy.deepcopy(u).double() if isinstance(u, nn.Module) else u
    )
    if isinstance(exact, nn.Module):
        return exact
    probe = torch.full((1, 2), 0.5, dtype=torch.float64, device=device)
    try:
        with torch.no_grad():
            exact(probe)
    except RuntimeError:  # float32 weights inside a function: the sums stay in float64
        unrounded = in_float32(f)
        return lambda x: values(unrounded, x.float()).double()
    return exact


def _on_cells(f: Energy, device: torch.device, R: float, n: int) -> Tensor:
    """f at the centres of n × n cells of [-R, R]², (n²,) in float64;
    the second coordinate is slow.
    """
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * R / n) - R
    values = torch.cat([_rows(f, x.to(device)) for x in _points(axis)])
    bad = int(values.isnan().sum())
    require(
        bad == 0,
        f"{bad} of {n * n} energies on the box ±{R:g} are NaN; the network has diverged or"
        " overflows",
    )
    return values.double()


def _points(axis: Tensor) -> Iterator[Tensor]:
    n = axis.numel()
    for ys in axis.split(max(1, CHUNK // n)):
        y, x = torch.meshgrid(ys, axis, indexing="ij")
        yield torch.stack([x.reshape(-1), y.reshape(-1)], dim=1)


def _rows(f: Energy, x: Tensor) -> Tensor:
    with torch.no_grad():
        values = f(x)
    require(
        values.shape == (x.shape[0],),
        f"a batch of {x.shape[0]} points gave values of shape {tuple(values.shape)}, must be"
        f" ({x.shape[0]},)",
    )
    return values


def _log_integral(log_f: Tensor, R: float, n: int) -> float:
    return float(torch.logsumexp(log_f, dim=0)) + 2 * math.log(2 * R / n)


def _border_share(log_f: Tensor, n: int) -> float:
    """Share of ∫ f in the outermost 1/16 of the box on each side."""
    top = float(log_f.max())
    require(
        math.isfinite(top),
        f"the largest log-density on a {n}² grid is {top}; must be finite: energies of ±inf have"
        " none",
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
    """The first half-width R, 5R/4, ... whose border holds a negligible share of ∫ f,
    on an n × n grid.
    """
    require(R > 0, f"box is {R:g}, must be > 0: the half-width of the square to integrate over")
    while True:
        border = _border_share(log_f(R, n), n)
        if border < BORDER_LIMIT:
            return R
        require(
            max_box >= GROW_BOX * R,
            f"log Z did not settle: box ±{R:g}, mass of {name} at the border {border:.2g}, limit"
            f" {BORDER_LIMIT:g}; its tails are heavy or not integrable: add a Gaussian reference"
            " |x|²/(2s²), or raise max_box",
        )
        R *= GROW_BOX


def _resolve_data(
    data: Callable[[float, int], Tensor], R: float, n: int, rel_tol: float, max_cells: int
) -> int:
    """The first n, 3n/2, ... on which ∫ p = 1 within rel_tol;
    the finest one if it is within 1e-5 there.
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
        f"the data density integrates to {mass:.8g} over ±{R:g} on a {n}² grid, must be 1 within"
        " 1e-5; normalise it, or raise max_cells if its features are narrower than"
        f" {2 * R / n:.2g}",
    )


def _first_of_three(n: float, max_cells: int) -> int:
    """n, or the largest number of cells that can still be refined twice within max_cells."""
    return _even(min(n, (max_cells - 4) / GROW**2))


def _last_change(values: list[float]) -> float:
    """|v_k - v_{k-1}|, 0 for two equal infinities; infinite while there is one value."""
    if len(values) < 2:
        return math.inf
    return 0.0 if values[-1] == values[-2] else abs(values[-1] - values[-2])


def _settled(values: list[float], tol: float) -> bool:
    """The last change is below tol and the one before below √tol."""
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
        f"log Z did not settle: {what}, last change {error:.2g}, limit {rel_tol:g}, box ±{R:g}, "
        f"mass at the border {border:.2g}, grid {n}²; raise rel_tol (kinked networks) or max_cells"
    )
