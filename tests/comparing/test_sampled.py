"""Samplers compared on a density: moments, budgets, resumes, failures, biases that are named."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stanley.cli.what_to_sample import what_to_sample
from stanley.comparing import Comparison, carry_out, compare, sampled, sampling
from stanley.comparing.given import compare_runs
from stanley.comparing.moments import Moments, exact_moments, functions
from stanley.comparing.record import read_record
from stanley.comparing.sampling import (
    SamplingConfig,
    density_of,
    errors_along,
    noted_at,
    read_sampled,
    ready,
    run,
    sampler_of,
)
from stanley.comparing.tables import csv_text, latex, markdown, terminal_lines
from stanley.comparing.task import ROW
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError
from stanley.plots import Drawing
from stanley.plots.comparison import write_figures
from stanley.samplers import run_chains
from stanley.streams import stream
from stanley.targets import Gaussian, named
from stanley.training.loop import train
from tests.comparing.test_carry_out import Here
from tests.comparing.test_carry_out import asked as asked_to_train
from tests.comparing.test_comparison import KINDS
from tests.seeds import fresh, fresh_seed

ARMS = {"Langevin": {"sampler": "langevin"}, "MALA": {"sampler": "mala"}}
SHORT = {"steps": 200, "chains": 8}
#: Scores that are the same bits whenever they are computed again.
SAME = ["bias2", "ess_per_gradient", "rhat"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(carry_out, "workers_on", lambda *_: nullcontext(Here()))


def asked(**fields: Any) -> Comparison:
    usual: dict[str, Any] = {"target": "banana", "arms": ARMS, "fields": SHORT, "seeds": 2}
    usual |= {"first_seed": fresh_seed() % 1_000, "scores": SAME}
    return Comparison(**(usual | fields))


def values(result: dict[str, Any]) -> dict[str, Any]:
    return {s: {a: f["values"] for a, f in of.items()} for s, of in result["scores"].items()}


@pytest.mark.parametrize("name", ["gaussian", "banana", "funnel", "quartic", "double-well"])
def test_moments_are_those_of_exact_draws(name: str):
    """Of n = 40,000 draws each mean of f is within 6 standard errors, by the normal law with
    probability 1 - 2e-9 for each of at most 100; the standard error is half as large again for what
    the fourth moment from draws may be off.
    """
    target, n = named(name), 40_000
    known = exact_moments(target)
    assert known is not None
    found = functions(target, target.sample(n, fresh())[None]).mean((0, 1))
    z = (found - known.mean) / (known.variance / n).sqrt()
    assert float(z.abs().max()) < 9
    off = known.mean + 3 * known.variance.sqrt()  # a control: b² is the square of what is added
    assert known.error(off) == pytest.approx(9)


def config_of(kind: str, **fields: Any) -> SamplingConfig:
    arms = {"one": {"sampler": kind}}
    shared = SHORT | {"seed": fresh_seed() % 10**6} | fields
    comparison = Comparison(target=shared.pop("target", "gaussian"), arms=arms, fields=shared)
    return comparison.config("one")


@pytest.mark.parametrize("kind", ["langevin", "adjusted-stanley", "hmc"])
def test_the_chains_are_those_of_run_chains_and_so_is_their_error(kind: str, tmp_path: Path):
    """b²(t) from sums at a few places is that of all states between t/2 and t."""
    config = config_of(kind, target="banana", along=3)
    density, sampler = density_of(config), sampler_of(config)
    chains = run(config, density, sampler, tmp_path)
    assert not isinstance(chains, str)
    generator = stream(config.seed, "chains")
    x0 = density.starts(config)
    plain = run_chains(
        sampler, density.potential, x0, config.steps, generator=generator, keep_every=1
    )
    assert plain.draws is not None
    assert torch.equal(chains.draws, plain.draws[config.steps // 2 :])
    assert chains.gradients == plain.info.num_gradients + plain.info.num_potentials / 2
    moments = exact_moments(density.potential)
    assert moments is not None
    f = functions(density.potential, plain.draws).mean(1)
    curve = errors_along(chains, moments)
    assert len(curve) > 10
    assert curve[-1][0] == config.steps
    for t, b2 in curve:
        assert b2 == pytest.approx(moments.error(f[t // 2 : t].mean(0)), rel=1e-9)


def test_places_along_a_run_have_their_halves():
    steps = 20 + fresh_seed() % 5_000
    places = noted_at(steps, 4)
    assert steps in places
    assert steps // 2 in places
    assert sum(t == 1 or t // 2 in places for t in places) >= len(places) / 2


def test_an_unadjusted_samplers_error_ends_at_its_bias(tmp_path: Path):
    """Langevin of h = 1 on N(0, 1) has E x² = 1/(1 - h/4) = 4/3, so that b² = (1/3)²/2 at every
    coordinate. x is a first-order process of coefficient ½, so 64,000 states of x² have an ESS of
    0.6·64,000, and Ê x² a standard error of 0.0096; six of them for the worst of ten coordinates.
    """
    config = replace(config_of("langevin"), steps=2_000, chains=64)
    config = replace(config, sampler=replace(config.sampler, step_size=1.0))  # type: ignore[arg-type]
    density = density_of(config)
    chains = run(config, density, sampler_of(config), tmp_path)
    assert not isinstance(chains, str)
    moments = exact_moments(density.potential)
    assert moments is not None
    b2 = errors_along(chains, moments)[-1][1]
    assert (1 / 3 - 6 * 0.0096) ** 2 / 2 < b2 < (1 / 3 + 6 * 0.0096) ** 2 / 2
    exact = replace(config, sampler=config_of("mala").sampler, adapt=200)
    x0 = density.starts(exact)
    chains = run(exact, density, ready(exact, density, x0), tmp_path)
    assert not isinstance(chains, str)
    assert errors_along(chains, moments)[-1][1] < 0.01  # a control, at the limit of b²


@pytest.mark.parametrize("kind", KINDS)
def test_every_arm_gets_the_gradients_of_the_budget_and_no_more(kind: str, tmp_path: Path):
    comparison = asked(arms={"own": {"sampler": kind}}, target="gaussian")
    config = comparison.on_budget("own", comparison.config("own"), 0)
    start, step = sampled.cost_of(config)
    share = comparison.subject.share(config)
    assert share.gradients is not None
    each = share.gradients / config.chains
    assert each <= SHORT["steps"]
    assert each > SHORT["steps"] - step or not step
    if "hmc" not in kind:  # whose numbers of leapfrog steps are drawn
        config = replace(config, sampler=replace_step(config.sampler, 1e-3))
        chains = run(config, density_of(config), sampler_of(config), tmp_path)
        assert not isinstance(chains, str)
        assert chains.gradients == pytest.approx(each)
        assert chains.gradients == pytest.approx(start + config.steps * step)


def replace_step(sampler: Any, step_size: float) -> Any:
    from stanley.samplers.traits import with_step_size

    return with_step_size(sampler, step_size)


RESUMED = {
    "mala": {},
    "underdamped": {},
    "stanley": {"sampler.threshold": {"quantile": 0.5}},
    "preconditioned-langevin": {},
    "adjusted-stanley": {},
    "hmc": {},
    "replica-exchange": {"sampler.sampler": {"kind": "mala", "step_size": 0.1}},
}


@pytest.mark.parametrize("kind", RESUMED)
def test_chains_that_were_stopped_go_on_to_the_same_bits(
    kind: str, here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sampling, "CHECKPOINT_AFTER", 0.0)
    arms = {"own": {"sampler": kind} | RESUMED[kind]}
    comparison = asked(arms=arms, seeds=1, scores=SAME)
    whole = compare(comparison, tmp_path / "whole")
    original, calls = sampling.Chains.save, []

    def stopped(self: Any, folder: Path) -> None:
        original(self, folder)
        calls.append(self.step)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(sampling.Chains, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(comparison, tmp_path / "parts")
    assert values(compare(comparison, tmp_path / "parts")) == values(whole)
    assert not list((tmp_path / "parts").rglob("*.safetensors"))
    draws = [next((tmp_path / one).rglob("draws.npy")) for one in ("whole", "parts")]
    assert draws[0].read_bytes() == draws[1].read_bytes()
    other = asked(arms=arms, seeds=1, first_seed=comparison.first_seed + 5_000)
    assert values(compare(other, tmp_path / "other")) != values(whole)


def test_killed_with_9_it_goes_on_to_the_same_bits(here: None, tmp_path: Path):
    comparison = asked(fields=SHORT | {"steps": 3_000}, seeds=3)
    whole = compare(comparison, tmp_path / "whole")
    plain = json.dumps(to_dict(comparison))
    code = (
        "import json; from stanley.comparing import Comparison, compare;"
        f"compare(Comparison(**json.loads({plain!r})), {str(tmp_path / 'killed')!r}, workers=2)"
    )
    file = tmp_path / "go.py"
    file.write_text(f"if __name__ == '__main__':\n    {code}\n")
    process = subprocess.Popen([sys.executable, file], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob(ROW)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert values(compare(comparison, tmp_path / "killed")) == values(whole)


def test_local_workers_give_the_bits_of_one_process(here: None, tmp_path: Path, monkeypatch: Any):
    comparison = asked(grid={"sampler.step_size": [0.05, 0.2]})
    serial = compare(comparison, tmp_path / "serial")
    monkeypatch.undo()
    assert values(compare(comparison, tmp_path / "two", workers=2)) == values(serial)


@pytest.mark.parametrize("where", ["dask", "submitit-local"])
def test_other_engines_give_the_bits_of_one_process(
    here: None, tmp_path: Path, where: str, monkeypatch: Any
):
    pytest.importorskip("distributed" if where == "dask" else "submitit", reason="an extra")
    comparison = asked(seeds=1)
    serial = compare(comparison, tmp_path / "serial")
    monkeypatch.undo()
    assert values(compare(comparison, tmp_path / where, workers=2, on=where)) == values(serial)


def test_the_answer_says_what_was_tuned_spent_and_found(here: None, tmp_path: Path):
    comparison = asked(grid={"sampler.step_size": [0.05, 0.2, 0.4]}, seeds=3)
    out = tmp_path / "c"
    result = compare(comparison, out)
    assert json.loads((out / "comparison.json").read_text()) == json.loads(json.dumps(result))
    assert read_record(out / "comparison.json") == json.loads(json.dumps(result))
    assert from_dict(Comparison, result["asked"]) == comparison
    for about in result["arms"].values():
        tried = {name: trial["score"] for name, trial in about["tuning"].items()}
        assert len(tried) == 3
        assert about["setting_name"] == min(tried, key=lambda name: tried[name])
        assert about["share"]["steps"] == 199
        assert about["share"]["gradients"] == 8 * 200
        for one in about["runs"]:
            place = out / one["folder"]
            config, ran = read_sampled(place)
            assert config.seed == one["seed"]
            assert ran["step_size"] == about["setting"]["sampler.step_size"]
            assert np.load(place / "draws.npy").shape == (100, 8, 2)
            assert one["along"][-1] == [200.0, one["scores"]["bias2"]] or one["along"][-1] == (
                200.0,
                one["scores"]["bias2"],
            )
    rows = (out / "comparison.json").stat()
    again = compare(comparison, out)
    assert values(again) == values(result)
    assert rows.st_size == (out / "comparison.json").stat().st_size
    files = write_figures(result, out, Drawing(dpi=60))
    assert [file.name for file in files] == ["comparison.png", "samples.png"]
    assert "banana: bias2, less is better; seeds" in "\n".join(terminal_lines(result))
    assert csv_text(result).splitlines()[0].endswith("bias2,ess_per_gradient,rhat")


def test_a_biased_sampler_is_named_as_biased_beside_its_effective_draws(here: None, tmp_path: Path):
    result = compare(asked(), tmp_path / "c")
    text = "\n".join(terminal_lines(result))
    for one in (text, markdown(result), latex(result)):
        assert "Langevin (biased)" in one
        assert "MALA (biased)" not in one
    assert "biased: Langevin never rejects" in text
    assert "nothing of whether they are right" in text
    exact = compare(asked(arms={"MALA": ARMS["MALA"], "HMC": {"sampler": "hmc"}}), tmp_path / "d")
    assert "biased" not in "\n".join(terminal_lines(exact))


def test_chains_that_run_away_are_failures_and_no_errors(here: None, tmp_path: Path):
    arms = {"wild": {"sampler": "langevin", "sampler.step_size": 5.0}, "MALA": {"sampler": "mala"}}
    result = compare(asked(target="quartic", arms=arms), tmp_path / "c")
    wild = result["scores"]["bias2"]["wild"]
    assert (wild["n"], wild["failed"]) == (0, 2)
    assert all(
        "left the finite numbers" in run["failure"] for run in result["arms"]["wild"]["runs"]
    )
    assert "failed on all 2 seeds" in "\n".join(terminal_lines(result))
    assert result["scores"]["bias2"]["MALA"]["n"] == 2
    write_figures(result, tmp_path / "c", Drawing(dpi=50))


def test_gradients_to_a_small_error_are_those_after_which_it_stays_small():
    spent = {t: 10.0 * t for t in (1, 2, 4, 8, 16)}
    means = {1: 5.0, 2: 0.05, 4: 0.5, 8: 0.05, 16: 0.0}  # of f over (t/2, t]
    sums, total = {}, 0.0
    for t, mean in means.items():
        total += mean * (t - t // 2)
        sums[t] = torch.tensor([total], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    generator = torch.Generator()
    chains = sampling.Chains(
        16, None, generator, sums[16], sums, spent, 160.0, 0.0, 1.0, torch.randn(8, 4, 2)
    )
    density = sampling.DensityAt(Gaussian(torch.eye(2)), (2,), torch.float32)
    found = sampling.scores_of(chains, density, Moments(0 * one, one, ""))
    assert found["gradients_to_bias2"] == 80.0
    assert found["bias2"] == 0.0
    late = sampling.scores_of(chains, density, Moments(3 * one, one, ""))
    assert late["gradients_to_bias2"] is None
    assert sampling.scores_of(chains, density, None).keys().isdisjoint({"bias2"})


OWN = """
import torch

STD = torch.tensor([0.5, 2.0], dtype=torch.float64)


def U(x):
    return ((x / STD) ** 2).sum(-1) / 2


def log_p(x):
    return -U(x)


def without_gradient(x):
    return U(x.detach())


def inside(x):
    return torch.where(x.abs().amax(-1) < 1, x.square().sum(-1), float("inf"))


def two_far(x):
    apart = torch.stack([((x - m) ** 2).sum(-1) / 2 for m in (-40.0, 40.0)])
    return -torch.logsumexp(-apart, 0)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    return tmp_path


def test_a_density_of_ones_own_is_held_to_a_reference(here: None, mine: Path):
    """Its E f are those of the Gaussian that it is: of 10,000 effective draws, which the reference
    has at least, each of 4 is within 6 standard errors.
    """
    fields = SHORT | {"shape": 2}
    compare(asked(target="mine.py:U", fields=fields, seeds=1), mine / "c")
    reference = Moments.of(json.loads((mine / "c" / "reference.json").read_text()))
    variance = torch.tensor([0.25, 4.0], dtype=torch.float64)
    mean = torch.cat([torch.zeros(2, dtype=torch.float64), variance])
    spread = torch.cat([variance, 2 * variance**2])
    assert Moments(mean, spread, "").error(reference.mean) < 36 / sampled.REFERENCE_ESS
    assert "exact chains" in reference.source
    other = asked(target="mine.py:log_p", fields=fields | {"log_density": True}, seeds=1)
    compare(other, mine / "d")
    turned = asked(target="mine.py:log_p", fields=fields, seeds=1)
    with pytest.raises(StanleyError, match="run away"):
        compare(turned, mine / "e")


def test_a_reference_that_does_not_converge_is_refused(here: None, mine: Path, monkeypatch: Any):
    monkeypatch.setattr(sampled, "REFERENCE_BUDGET", 3_000)
    far = asked(target="mine.py:two_far", fields=SHORT | {"shape": 2, "start_std": 30.0})
    with pytest.raises(StanleyError, match=r"did not converge.*leave it out: --scores"):
        compare(far, mine / "c")
    fine = replace(far, scores=["rhat", "ess_per_gradient"])
    assert compare(fine, mine / "d")["along"] == {"score": "rhat", "of": "gradients a chain"}


def test_a_trained_energy_is_a_density_like_any_other(here: None, tmp_path: Path):
    config = from_dict(
        type(asked_to_train().config("MALA")), to_dict(asked_to_train().config("MALA"))
    )
    train(config, tmp_path / "run", device="cpu")
    comparison = asked(target=str(tmp_path / "run"), scores=["rhat", "ess_per_gradient"], seeds=1)
    result = compare(comparison, tmp_path / "c")
    assert not [r for about in result["arms"].values() for r in about["runs"] if r["failure"]]
    with pytest.raises(StanleyError, match="a run knows its density"):
        replace(comparison, fields=SHORT | {"shape": 2}).check()


def test_the_folder_of_a_seed_stands_for_its_density_and_sampler(here: None, mine: Path):
    comparison = asked(arms={"MALA": {"sampler": "mala"}}, fields=SHORT | {"adapt": 50}, seeds=1)
    result = compare(comparison, mine / "c")
    place = mine / "c" / result["arms"]["MALA"]["runs"][0]["folder"]
    what = what_to_sample(place, (), None, None, None, None, None, None, "auto")
    assert what.sampler.step_size == read_sampled(place)[1]["step_size"] != 0.1
    assert what.event_shape == (2,)
    assert not what.tune
    own = asked(target="mine.py:U", fields=SHORT | {"shape": 2}, seeds=1, scores=["rhat"])
    result = compare(own, mine / "d")
    place = mine / "d" / result["arms"]["MALA"]["runs"][0]["folder"]
    with pytest.raises(StanleyError, match=r"names code.*--trust"):
        what_to_sample(place, (), None, None, None, None, None, None, "auto")


def test_what_is_tuned_where_nobody_says_lies_around_the_step_of_mala():
    comparison = asked()
    grid = comparison.subject.usual_grid(comparison.base(), ["langevin", "stanley", "hmc"])
    steps = grid["sampler.step_size"]
    assert len(steps) == 5
    assert steps[-1] == pytest.approx(81 * steps[0], rel=0.1)
    low, high = grid["sampler.threshold"]
    assert 0 < low < high
    assert grid["sampler.num_leapfrog"] == [4, 16]
    adapting = asked(fields=SHORT | {"adapt": 100})
    grid = adapting.subject.usual_grid(adapting.base(), ["stanley"])
    assert grid == {"sampler.threshold": [{"quantile": 0.5}, {"quantile": 0.9}]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": "rings"}, "not both"),
        ({"target": None}, "neither recipe nor target"),
        ({"target": "bananna"}, "banana"),
        ({"arms": {"a": {"sampler": "mala", "optimizer.lr": 1}}}, "optimizer.lr.*one of training"),
        ({"arms": {"a": {"sampler": "mala", "chians": 3}}}, "chains"),
        ({"arms": {"a": {"sampler": "langevni"}}}, "langevin"),
        ({"arms": ARMS | {"b": {"chains": 16}}}, "arm 'b' has chains 16"),
        ({"arms": ARMS | {"b": {"target": "ring"}}}, "all arms sample banana"),
        ({"arms": ARMS | {"b": {"steps": 100}}}, "arm 'b' sets steps"),
        ({"arms": ARMS | {"b": {"sampler": "mala"}}}, "same configuration"),
        ({"arms": {"a": {"sampler": "hmc", "sampler.num_leapfrog": 99}}}, "takes 99 gradients a"),
        (
            {"arms": {"a": {"sampler": "hmc"}}, "grid": {"sampler.num_leapfrog": [3, 99]}},
            "takes 99",
        ),
        ({"grid": {"sampler.friction": [1.0]}}, "no arm has"),
        ({"grid": {"sampler.step_size": [0.1]}, "fields": {"adapt": 9}}, "leave out one of them"),
        ({"scores": ["bais2"]}, "bias2"),
        ({"scores": ["kl"]}, "none of chains on a density"),
        ({"num": 100}, "num is 100"),
        ({"fields": {"precondition": "both"}}, "adapt is 0"),
        ({"fields": {"start_std": 0.0}}, "start_std is 0"),
        ({"fields": {"chains": 2}}, "chains is 2"),
        ({"fields": {"shape": 2}}, "has a shape of its own"),
        ({"target": "mine.py:U"}, "no attribute event_shape"),
        ({"target": "mine.py:inside", "fields": {"shape": 2}}, "not finite at"),
        (
            {"target": "mine.py:without_gradient", "fields": {"shape": 2}},
            "arm 'Langevin'.*autograd",
        ),
        ({"arms": {"u": {"sampler": "underdamped"}}, "fields": {"adapt": 9}}, "no step size can"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_asked_of_a_density_is_one_line(
    fields: dict[str, Any], message: str, mine: Path
):
    with pytest.raises(StanleyError, match=message) as caught:
        asked(**fields).check()
    assert "\n" not in str(caught.value)


def test_one_without_a_gradient_can_be_walked_at_random(here: None, mine: Path):
    comparison = asked(
        target="mine.py:without_gradient",
        fields=SHORT | {"shape": 2},
        arms={"walk": {"sampler": "random-walk"}},
        scores=["rhat"],
    )
    assert compare(comparison, mine / "c")["scores"]["rhat"]["walk"]["n"] == 2
    grid = comparison.subject.usual_grid(comparison.base(), ["random-walk"])
    assert list(grid) == ["sampler.step_size"]


def test_seconds_become_steps():
    comparison = asked(budget="seconds", seconds=1.0)
    config = comparison.config("MALA")
    few, many = (comparison.subject.steps_in(s, config) for s in (0.2, 2.0))
    assert 8 < few < many
    with pytest.raises(StanleyError, match="use more seconds"):
        comparison.subject.steps_in(1e-6, config)


class TestSeedsThatAreThere:
    """Folders of a comparison on a density, compared by themselves."""

    @pytest.fixture
    def folders(self, here: None, tmp_path: Path) -> tuple[dict[str, Any], list[Path]]:
        whole = compare(asked(scores=SAME), tmp_path / "whole")
        runs = [run for about in whole["arms"].values() for run in about["runs"]]
        return whole, [tmp_path / "whole" / run["folder"] for run in runs]

    def test_they_say_what_the_comparison_said(self, folders: Any, tmp_path: Path):
        whole, paths = folders
        found = compare_runs(paths)
        assert found["asked"]["scores"] == SAME
        assert list(found["arms"]) == ["langevin", "mala"]
        assert [about["biased"] for about in found["arms"].values()] == [True, False]
        for arm, name in zip(whole["arms"], found["arms"], strict=True):
            assert found["arms"][name]["share"] == whole["arms"][arm]["share"]
            for score in SAME:
                values = (result["scores"][score] for result in (whole, found))
                one, other = (v[n]["values"] for v, n in zip(values, (arm, name), strict=True))
                assert one == other
        found = json.loads(json.dumps(found))
        assert found["along"] == whole["along"]
        (tmp_path / "given").mkdir()
        drawn = write_figures(found, tmp_path / "given", Drawing())
        assert {path.stem for path in drawn} == {"comparison", "samples"}
        (tmp_path / "given.json").write_text(json.dumps(found))
        assert "rhat" in "".join(terminal_lines(read_record(tmp_path / "given.json")))

    def test_code_that_they_name_is_not_imported(self, folders: Any, tmp_path: Path):
        """Of a stranger's folder nothing is looked at but its numbers."""
        _, paths = folders
        (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
        for path in paths:
            row = json.loads((path / ROW).read_text())
            row["config"]["target"] = f"{tmp_path / 'theirs.py'}:U"
            (path / ROW).write_text(json.dumps(row))
        found = compare_runs(paths)
        drawn = write_figures(found, tmp_path, Drawing())
        assert [path.stem for path in drawn] == ["comparison"]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"target": "gaussian"}, "has target 'gaussian'.* has 'banana'"),
            ({"start_std": 3.0}, "start_std 3.0.*different questions"),
            ({"sampler": {"kind": "mola"}}, "compared.json is damaged"),
            ({"seed": "one"}, "compared.json is damaged"),
        ],
        ids=["another-density", "other-starts", "no-sampler", "no-seed"],
    )
    def test_what_cannot_be_compared_is_told(self, folders: Any, change: dict[str, Any], said: str):
        _, paths = folders
        row = json.loads((paths[-1] / ROW).read_text())
        row["config"] |= change
        (paths[-1] / ROW).write_text(json.dumps(row))
        with pytest.raises(StanleyError, match=said):
            compare_runs(paths)

    def test_what_they_lack_is_told(self, folders: Any, tmp_path: Path):
        _, paths = folders
        with pytest.raises(StanleyError, match="has no ess, but bias2"):
            compare_runs(paths, scores=["ess"])
        with pytest.raises(StanleyError, match="is a whole comparison"):
            compare_runs([tmp_path / "whole", *paths])
        with pytest.raises(StanleyError, match="same configuration and seed"):
            compare_runs([*paths, paths[0]])
        (tmp_path / "run").mkdir()
        with pytest.raises(StanleyError, match="is not of one seed on a density"):
            compare_runs([*paths, tmp_path / "run"])
        (paths[0] / ROW).write_text("[]")
        with pytest.raises(StanleyError, match=ROW):
            compare_runs(paths)
