"""Chains that are watched are those of `run_chains`, and what is told of them is what they do."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from stanley.comparing.moments import functions
from stanley.diagnostics import summarise
from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    AnySampler,
    ChEES,
    Langevin,
    PreconditionedLangevin,
    ReplicaExchange,
    Stanley,
    Underdamped,
    run_chains,
)
from stanley.studio.as_python import as_python
from stanley.studio.playing import (
    EDGE,
    OUTSIDE,
    Play,
    SamplerError,
    Scene,
    SecondHalf,
    Thinned,
    play_of,
    quantised,
    start,
)
from stanley.studio.sampler_fields import sampler_fields, typed
from stanley.studio.stage import (
    BINS,
    GRID,
    Stage,
    View,
    moments_in_plane,
    of_density,
    on_its_scale,
    staged,
    view_of,
    window_of,
)
from stanley.targets import Gaussian, Target
from tests.seeds import RNG, fresh_seed, stream

SAMPLERS = {
    "langevin": Langevin(0.05),
    "stanley of a quantile": Stanley(0.05),
    "stanley at a threshold, drift": Stanley(0.05, threshold=1.0, correction="drift"),
    "stanley of its start": Stanley(0.05, refresh="start"),
    "adjusted stanley": Adjusted(Stanley(0.05, threshold=2.0)),
    "preconditioned": PreconditionedLangevin(0.02),
    "underdamped": Underdamped(0.1),
    "hmc": HMC(0.2),
    "chees": ChEES(0.2),
    "replica exchange": ReplicaExchange(MALA(0.05)),
}
SECONDS = 60.0


def scene(stage: Stage, *samplers: Any, chains: int = 32, **asked: Any) -> Scene:
    asked.setdefault("seed", fresh_seed() % 2**53)
    return Scene(Play(samplers=samplers, chains=chains, **asked), stage)


@pytest.fixture(scope="module")
def banana() -> Stage:
    return of_density("banana")


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("where", ["noise", "point", "mode"])
def test_the_chains_are_those_of_run_chains_bit_for_bit(
    sampler: Any, where: Literal["noise", "point", "mode"], banana: Stage
) -> None:
    watched = scene(banana, Langevin(0.3), sampler, start=where, point=(1.0, -1.0), width=1.5)
    for steps in (1, 5, 6):
        watched.advance(steps, SECONDS)
    x0 = start(watched.play, banana)
    chains = run_chains(sampler, banana.potential, x0, 12, seed=watched.play.seed, keep_every=1)
    panel = watched.panels[1]
    assert torch.equal(panel.state.x, chains.x)
    told = panel.numbers(12)
    assert told["gradients"] == chains.info.num_gradients
    assert chains.draws is not None
    # the half (t/2, t], the last 6 of 12 steps: the sums differ by their order alone
    f = functions(banana.potential, chains.draws[6:]).flatten(0, 1).mean(0)
    assert told["b2"] == pytest.approx(banana.moments.error(f), rel=1e-9)
    summary = summarise(chains.draws[6:])
    if told["rhat"] is not None:
        assert told["rhat"] == pytest.approx(summary.worst_rhat, rel=1e-12)
        assert told["ess"] == pytest.approx(summary.worst_ess_bulk, rel=1e-12)
    if told["acceptance"] is not None:
        assert told["acceptance"] == pytest.approx(float(chains.info.acceptance.mean()), rel=1e-12)
    if told["gamma"] is not None:
        assert told["gamma"] == pytest.approx(float(chains.info.step_scale.mean()), rel=1e-6)


def test_another_seed_gives_other_chains(banana: Stage) -> None:
    """The control of the test above: chains that were equal by accident would be so here."""
    one, other = (scene(banana, MALA(0.1), seed=seed) for seed in (1, 2))
    for watched in (one, other):
        watched.advance(3, SECONDS)
    assert not torch.equal(one.panels[0].state.x, other.panels[0].state.x)


def test_beginning_again_gives_the_same_chains(banana: Stage) -> None:
    watched = scene(banana, MALA(0.1))
    watched.advance(4, SECONDS)
    before = watched.panels[0].state.x
    watched.begin()
    assert watched.steps == 0
    watched.advance(4, SECONDS)
    assert torch.equal(watched.panels[0].state.x, before)


def test_panels_share_their_start_and_do_not_disturb_each_other(banana: Stage) -> None:
    alone = scene(banana, MALA(0.1), seed=3)
    beside = scene(banana, Langevin(0.1), MALA(0.1), HMC(0.1), seed=3)
    for watched in (alone, beside):
        watched.advance(5, SECONDS)
    assert torch.equal(alone.panels[0].state.x, beside.panels[1].state.x)


@pytest.mark.parametrize("density", ["rings", "gaussian", "eight-schools"])
@pytest.mark.parametrize("where", ["noise", "point", "mode"])
def test_the_program_that_is_shown_has_the_same_chains(
    density: str, where: Literal["noise", "point", "mode"]
) -> None:
    stage = of_density(density)
    sampler = Adjusted(Stanley(0.03, threshold=2.0, scope="sample"))
    watched = scene(stage, Langevin(0.01), sampler, start=where, width=0.5, point=(0.5, 1.0))
    program = as_python(watched.play, stage, 1).replace("num_steps=1000", "num_steps=7")
    watched.advance(7, SECONDS)
    names: dict[str, Any] = {}
    exec(program, names)
    assert torch.equal(names["chains"].x, watched.panels[1].state.x)


@dataclass(frozen=True)
class Steep(Target):
    """U = |x|⁴, on which a chain that is far out diverges."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.square().sum(1) ** 2

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    log_z = mean = variance = None  # pyright: ignore

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        raise StanleyError("none")


def test_chains_that_diverge_are_counted() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    stage = staged("steep", Steep(), zero, torch.ones_like(zero), "")
    watched = scene(stage, Langevin(0.3), MALA(0.3), chains=256, width=3.0)
    watched.advance(60, SECONDS)
    lost, kept = (panel.numbers(60) for panel in watched.panels)
    finite = watched.panels[0].state.x.isfinite().all(1)
    finite &= watched.panels[0].state.potential.isfinite()
    assert lost["diverged"] == int((~finite).sum()) > 0
    assert lost["b2"] is None
    assert kept["diverged"] == 0
    assert kept["b2"] is not None
    x, y, _ = read_frame(watched.frame(1))[1][0]
    assert ((x == OUTSIDE) == (y == OUTSIDE)).all()
    assert (x[~finite.numpy()] == OUTSIDE).all()


def read_frame(data: bytes) -> tuple[tuple[int, ...], list[tuple[np.ndarray, ...]]]:
    """The header and, of each panel, x, y, γ: as the page reads them."""
    head = struct.unpack_from("<4I", data)
    _, _, chains, panels = head
    size = 4 * chains + chains + (-5 * chains % 4)
    assert len(data) == 16 + panels * size
    found = []
    for k in range(panels):
        at = 16 + k * size
        x = np.frombuffer(data, "<u2", chains, at)
        y = np.frombuffer(data, "<u2", chains, at + 2 * chains)
        found.append((x, y, np.frombuffer(data, "u1", chains, at + 4 * chains)))
    return head, found


@pytest.mark.parametrize("chains", [4, 5, 6, 7, 4096])
def test_a_frame_says_where_the_chains_are(chains: int, banana: Stage) -> None:
    watched = scene(banana, Langevin(0.1), Stanley(0.1, threshold=0.5), chains=chains, width=4.0)
    watched.advance(2, SECONDS)
    head, panels = read_frame(watched.frame(1))
    assert head == (1, 2, chains, 2)
    left, right, bottom, top = watched.view.window
    for (x, y, gamma), panel in zip(panels, watched.panels, strict=True):
        real = panel.state.x.numpy()
        seen = x != OUTSIDE
        inside = ((real >= (left, bottom)) & (real <= (right, top))).all(1)
        assert (seen == inside).all()
        # half a unit, and the rounding of float64
        half = np.array([right - left, top - bottom]) / EDGE / 2 * (1 + 1e-9)
        told = np.stack([left + (right - left) * (x / EDGE), bottom + (top - bottom) * (y / EDGE)])
        assert (np.abs(told.T - real)[seen] <= half).all()
        assert (np.abs(gamma / 255 - panel.gamma.double().numpy()) <= 0.5 / 255 + 1e-9).all()
    assert (panels[0][2] == 255).all()
    assert (panels[1][2] < 255).any()


def test_a_chain_that_diverged_is_not_also_out_of_view() -> None:
    """Also where it did so in a coordinate that is not shown, while those that are stay inside."""
    watched = scene(of_density("quartic"), Langevin(0.3), chains=500, width=2.0)
    panel = watched.panels[0]
    watched.advance(4, SECONDS)
    panel.state.x[:250, -1] = torch.nan
    panel.look()
    told, finite = panel.numbers(4), panel.state.x.isfinite().all(1).numpy()
    finite &= panel.state.potential.isfinite().numpy()
    assert told["diverged"] == (~finite).sum() >= 250
    inside = (panel.placed != OUTSIDE).all(0)
    assert told["outside"] == (~inside & finite).sum()
    assert (inside & ~finite).any()  # those that are of interest here


def test_edges_and_what_is_not_finite_are_quantised() -> None:
    points = torch.tensor(
        [[-1.0, 2.0], [1.0, 4.0], [0.0, 3.0], [1.1, 3.0], [torch.nan, 3.0], [torch.inf, -torch.inf]]
    )
    x, y = quantised(points, (-1.0, 1.0, 2.0, 4.0))
    assert x.tolist() == [0, EDGE, EDGE // 2, OUTSIDE, OUTSIDE, OUTSIDE]
    assert y.tolist() == [0, EDGE, EDGE // 2, EDGE // 2, EDGE // 2, OUTSIDE]


def test_histograms_are_those_of_the_second_half(banana: Stage) -> None:
    watched = scene(banana, MALA(0.2), chains=500, width=2.0)
    watched.advance(10, SECONDS)
    draws = run_chains(
        MALA(0.2),
        banana.potential,
        start(watched.play, banana),
        10,
        seed=watched.play.seed,
        keep_every=1,
    ).draws
    assert draws is not None
    points = draws[5:].flatten(0, 1).numpy()
    left, right, bottom, top = watched.view.window
    told = watched.panels[0].numbers(10)["histograms"]
    for k, edges in enumerate(((left, right), (bottom, top))):
        counts = np.histogram(points[:, k], BINS, edges)[0]
        # a point within half a unit of an edge between bins may be on its other side
        near = BINS * len(points) / EDGE
        assert np.abs(np.array(told[k]) * len(points) - counts).sum() <= 2 * (near + 6 * near**0.5)
        assert sum(told[k]) == pytest.approx(counts.sum() / len(points), abs=2e-3)


def test_the_second_half_is_half_of_the_steps() -> None:
    half = SecondHalf()
    for step in range(1, 3000):
        half.add(np.array([float(step), 1.0]))
        (numbers, count), steps = half.total()
        assert count == steps
        assert numbers == sum(range(step - steps + 1, step + 1))  # the last of them, one by one
        assert abs(steps - step / 2) <= max(0.5, step / 128)
        assert len(half.blocks) < 256


def test_kept_states_are_evenly_spaced() -> None:
    thinned = Thinned()
    for step in range(1, 2000):
        thinned.add(torch.full((2, 1), float(step)))
        kept = [int(state[0, 0]) for state in thinned.kept]
        assert kept == list(range(thinned.every, step + 1, thinned.every))
        assert len(kept) < 256


def agrees(view: View, points: np.ndarray) -> bool:
    """Whether points (n, 2) have the marginals of the view, to five standard errors in every bin:
    of 2·64 one lies outside by chance once in 10,000 runs. The quadrature is good to a part in a
    thousand of the largest bin.
    """
    left, right, bottom, top = view.window
    n, found = len(points), []
    for k, edges in enumerate(((left, right), (bottom, top))):
        share, exact = np.histogram(points[:, k], BINS, edges)[0] / n, view.marginals[k]
        error = 5 * np.sqrt(exact / n + 1 / n**2) + 1e-3 * exact.max()
        found.append((np.abs(share - exact) <= error).all())
    return all(found)


@pytest.mark.parametrize("name", ["rings", "banana", "ring-mixture"])
def test_marginals_in_the_plane_are_those_of_exact_draws(name: str) -> None:
    stage = of_density(name)
    assert isinstance(stage.potential, Target)
    points = stage.potential.sample(40_000, stream()).numpy()
    view = view_of(stage)
    assert agrees(view, points)
    assert not agrees(view, 1.1 * points)  # the control


def test_moments_by_quadrature_are_exact_ones(banana: Stage) -> None:
    found, known = moments_in_plane(banana), banana.moments
    assert isinstance(banana.potential, Target)
    assert torch.allclose(found.mean, known.mean, atol=1e-3)
    # Var y is known; Var y² is from 100,000 draws of a law with long tails
    assert torch.allclose(found.variance[:2], known.variance[:2], rtol=1e-3)
    assert torch.allclose(found.variance[2:], known.variance[2:], rtol=0.2)


@pytest.mark.parametrize("std", [1e-3, 0.2, 30.0])
def test_the_window_finds_a_density_of_any_width(std: float) -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    law = Gaussian.from_std([std, std])
    left, right, bottom, top = window_of(staged("one", law, zero, torch.ones_like(zero), ""))
    # 1.25 · 2.326 standard deviations on each side, to a cell of the grid that found them
    for edge in (-left, right, -bottom, top):
        assert edge / std == pytest.approx(1.25 * 2.326, rel=0.25)


@pytest.mark.parametrize("size", [2, 5])
def test_chains_start_as_wide_as_the_density(size: int) -> None:
    std = 10 ** torch.rand(size, generator=stream(), dtype=torch.float64)  # from 1 to 10
    zero = torch.zeros(size, dtype=torch.float64)
    law = staged("one", Gaussian.from_std(std), zero, torch.ones_like(zero), "")
    found = on_its_scale(law)
    # to two digits, 5 % at most, and to a cell of the grid or to 5 standard errors of a quantile
    cell = 2 * 1.25 * 2.4 * float(std.max()) / GRID if size == 2 else 0.02 * std
    assert ((found.std - std).abs() < 0.05 * std + cell).all()
    assert (found.mean.abs() < 0.05 * std + cell).all()
    assert not ((law.std - std).abs() < 0.05 * std + cell).all()  # the control
    x0 = found.noise(10_000, 3.0, 0)
    assert torch.allclose(x0.std(0), 3 * found.std, rtol=5 / 20_000**0.5)


def test_a_coordinate_that_no_grid_resolves_is_no_error() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    law = staged("one", Gaussian.from_std([1.0, 1e-6]), zero, torch.ones_like(zero), "")
    assert (on_its_scale(law).std > 0).all()


def test_coordinates_may_be_any_two(banana: Stage) -> None:
    stage = of_density("funnel")
    watched = scene(stage, MALA(0.1), coordinates=(3, 0), chains=16)
    watched.advance(2, SECONDS)
    assert torch.equal(watched.panels[0].shown, watched.panels[0].state.x[:, [3, 0]])
    one, other = view_of(banana, (0, 1)), view_of(banana, (1, 0))
    assert (one.marginals == other.marginals[::-1]).all()
    assert (one.shades[::-1] == other.shades[::-1].T).all()


OWN = """
import torch
from torch.distributions import Gamma

def U(x):
    return ((x - 5) ** 2).sum(-1) / 2
U.event_shape = (2,)

law = Gamma(torch.tensor([2.0, 5.0]), torch.tensor([1.0, 1.0]))

def breaks(x):
    if x.abs().max() > 3.5:
        raise RuntimeError("too far\\nfrom home")
    return (x ** 2).sum(-1) / 2
breaks.event_shape = (2,)
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Stage]:
    (tmp_path / "mine.py").write_text(OWN)
    return lambda name: of_density(f"{tmp_path / 'mine.py'}:{name}")


def test_a_density_of_ones_own(own: Callable[[str], Stage]) -> None:
    stage = own("U")
    left, right, bottom, top = window_of(stage)
    assert (left + right) / 2 == pytest.approx(5, abs=0.3)
    assert (bottom + top) / 2 == pytest.approx(5, abs=0.3)
    assert stage.moments.mean.tolist() == pytest.approx([5, 5, 26, 26], rel=1e-3)


def test_a_distribution_is_shown_in_its_own_coordinates(own: Callable[[str], Stage]) -> None:
    stage = own("law")
    assert stage.draws is not None
    watched = scene(stage, MALA(0.1), chains=64)
    watched.advance(3, SECONDS)
    assert (watched.panels[0].shown > 0).all()
    with pytest.raises(StanleyError, match="named parameters"):
        scene(stage, MALA(0.1), start="point")


def test_what_a_density_raises_is_one_line_of_its_panel(own: Callable[[str], Stage]) -> None:
    stage = own("U")

    def breaks(x: Tensor) -> Tensor:
        if x.shape[0] == 32 and x.abs().max() > 100:
            raise RuntimeError("too far\nfrom home")
        return stage.potential(x)

    watched = scene(replace(stage, potential=breaks), MALA(0.01), Langevin(20.0))
    with pytest.raises(SamplerError, match="too far from home") as caught:
        watched.advance(1000, SECONDS)
    assert caught.value.panel == 1
    assert "\n" not in str(caught.value)


def plain(**asked: Any) -> dict[str, Any]:
    sampler = {"kind": "stanley", "step_size": 0.1}
    return {"density": "rings", "samplers": [sampler], "chains": 64} | asked


GOOD = {"kind": "langevin", "step_size": 0.1}
WRONG = {
    "step size below zero": (
        {"samplers": [GOOD, {"kind": "langevin", "step_size": -1}]},
        r"Langevin: step_size is -1.0, must be > 0",
    ),
    "step size of letters": (
        {"samplers": [GOOD, {"kind": "langevin", "step_size": "much"}]},
        r"sampler.step_size is 'much', but must be",
    ),
    "no step size": ({"samplers": [GOOD, {"kind": "mala"}]}, r"sampler.step_size is missing"),
    "unknown kind": (
        {"samplers": [GOOD, {"kind": "stanly", "step_size": 1}]},
        r"sampler.kind is 'stanly': did you mean 'stanley'",
    ),
    "unknown field": (
        {"samplers": [GOOD, {"kind": "mala", "step_size": 1, "friction": 1}]},
        r"unknown field 'sampler.friction'",
    ),
    "of one's own": (
        {"samplers": [GOOD, {"kind": "adjusted", "proposal": {"kind": "by-name", "name": "os:x"}}]},
        r"is not imported here|by-name",
    ),
    "no fields": ({"samplers": [GOOD, 3]}, r"sampler is 3, but must be its fields"),
}


@pytest.mark.parametrize(("asked", "line"), WRONG.values(), ids=WRONG)
def test_a_wrong_sampler_is_told_in_the_library_s_own_line(asked: Any, line: str) -> None:
    with pytest.raises(SamplerError, match=line) as caught:
        play_of(plain(**asked))
    assert caught.value.panel == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        pytest.param({"samplers": []}, "there are 0 samplers", id="no sampler"),
        pytest.param({"samplers": [GOOD] * 9}, "there are 5 samplers", id="many samplers"),
        pytest.param({"samplers": None}, "samplers are missing", id="no list"),
        pytest.param({"chains": 10**9}, "chains is 1,000,000,000", id="many chains"),
        pytest.param({"chains": 1}, "chains is 1,", id="one chain"),
        pytest.param({"seed": -1}, "seed is -1", id="seed below zero"),
        pytest.param({"start": "mine"}, "start is 'mine'", id="unknown start"),
        pytest.param({"width": 0}, "width is 0", id="no width"),
        pytest.param({"point": [1e300, 0]}, "point is", id="a point far out"),
        pytest.param({"colour": 1}, "unknown field 'colour'", id="unknown field"),
    ],
)
def test_wrong_wishes_are_told_in_one_line(asked: Any, line: str) -> None:
    with pytest.raises(StanleyError, match=line):
        play_of(plain(**asked))


@pytest.mark.parametrize(
    ("sampler", "asked", "line"),
    [
        pytest.param(Stanley(0.1, scope="pixel"), {}, "scope 'pixel' needs images", id="pixels"),
        pytest.param(HMC(0.1, num_leapfrog=1000), {}, "at most 256 to be watched", id="long"),
        pytest.param(MALA(0.1), {"coordinates": (0, 2)}, "coordinates are 0 and 2", id="third"),
        pytest.param(MALA(0.1), {"coordinates": (1, 1)}, "two different", id="twice the same"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    sampler: Any, asked: Any, line: str, banana: Stage
) -> None:
    with pytest.raises(StanleyError, match=line):
        scene(banana, sampler, **asked)


def test_many_numbers_are_refused() -> None:
    with pytest.raises(StanleyError, match="1,638,400 numbers"):
        scene(of_density("ill-conditioned"), MALA(0.1), chains=16_384)


def test_every_sampler_of_the_library_has_its_controls() -> None:
    """Values made of nothing but what the controls say are samplers, whose defaults they have."""
    controls = sampler_fields()
    assert set(controls) == {member.kind for member in get_args(AnySampler)}

    def filled(kind: str) -> dict[str, Any]:
        values: dict[str, Any] = {"kind": kind}
        for field in controls[kind]["fields"]:
            assert field["about"]
            if field["type"] == "sampler":
                values[field["name"]] = filled(RNG.choice(field["choices"]))
            else:
                values[field["name"]] = field["default"]
        return values

    for kind, told in controls.items():
        assert told["about"]
        (made,) = play_of(plain(samplers=[filled(kind)])).samplers
        assert made.kind == kind
        if not isinstance(made, Adjusted | ReplicaExchange):
            assert made == type(made)(step_size=made.step_size)


def test_a_sampler_with_a_field_that_no_control_stands_for_is_noticed() -> None:
    with pytest.raises(TypeError, match="no control stands for"):
        typed(dict[str, float])


def test_advance_ends_in_time(banana: Stage) -> None:
    watched = scene(banana, MALA(0.1))
    assert watched.advance(1000, 0.0) == 1
    assert watched.steps == 1
