"""Code of the user's own by its name: trained, judged and handed on where it is named, and never
imported because a run or a model names it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import stanley
from stanley.cli import main
from stanley.cli.values import parse_fields
from stanley.errors import StanleyError
from stanley.files import write_json
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers.given import NamedSampler
from stanley.training.resolve import resolve
from tests.seeds import RNG
from tests.training.test_loop import same_state

MINE = """
import pathlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import stanley
from stanley.samplers import StepInfo, evaluate

pathlib.Path(__file__).with_name("imported").write_text("it was")


class MyNet(nn.Module):
    def __init__(self, event_shape, width=16):
        super().__init__()
        d = event_shape[0]
        self.net = nn.Sequential(nn.Linear(d, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1) + x.square().sum(1) / 4


@dataclass(frozen=True)
class MySampler:
    step_size: float
    power: float = 0.5

    def init(self, potential, x):
        return evaluate(potential, x)

    def step(self, potential, state, generator):
        xi = torch.randn(state.x.shape, generator=generator)
        x = state.x - self.step_size / 2 * state.grad + self.step_size**self.power * xi
        return evaluate(potential, x), StepInfo()


def load(path, scale=1.0):
    x = scale * torch.from_numpy(np.load(path)).float()
    return stanley.Dataset(x[50:], x[:50])


def broken(event_shape):
    return [][1]


def my_loss(potential, x, generator, spread=1.0):
    y = x + spread * torch.randn(x.shape, generator=generator)
    return (potential(x) - potential(y)).exp().mean()


@dataclass(frozen=True)
class MyChains(stanley.Contrastive):
    slope: float = 1.0

    def contrast(self, energy_pos, energy_neg):
        return (energy_pos - energy_neg).mean() + self.slope * energy_pos.square().mean()


class MyObjective:
    def __init__(self, power=1):
        self.power = power

    def loss(self, potential, x, generator):
        return potential(x).mean() ** self.power


network = MyNet((2,))
number = 3
"""

OWN = [
    *("--data", "mine.py:load", "--data.path", "x.npy", "--data.scale", "2"),
    *("--network", "mine.py:MyNet", "--network.width", "8"),
    *("--sampler", "mine.py:MySampler", "--sampler.step-size", "0.05"),
]
SHORT = ["--steps", "12", "--batch", "16", "--save-every", "6", "--warmup", "2"]
NAMED = [*OWN[:2], *OWN[6:8], *OWN[10:12]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's code and data, and no key but its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(MINE)
    np.save(tmp_path / "x.npy", RNG.normal(size=(400, 2)))
    return tmp_path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]):
    """Run a command; returns its exit code and what it said, on both streams together."""

    def run(*words: str) -> tuple[int, str]:
        try:
            main(words)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


@pytest.fixture
def trained(home: Path, ask) -> Path:
    code, told = ask("train", "array", *OWN, *SHORT, "--out", "run")
    assert code == 0, told
    assert "objective contrastive, where array has warm-start" in told
    assert "evaluate run --network mine.py:MyNet --data mine.py:load --sampler mine.py" in told
    (home / "imported").unlink()
    for name in [n for n in sys.modules if n.startswith("stanley_target_")]:
        del sys.modules[name]  # as another process would have it
    return home / "run"


def test_what_is_recorded(trained: Path) -> None:
    config = RunDirectory(trained).read_config()
    assert config["network"]["kind"] == "by-name"
    assert config["network"]["name"] == "mine.py:MyNet"
    assert config["network"]["arguments"] == {"width": 8}
    assert len(config["network"]["checksum"]) == 16
    assert config["data"]["arguments"] == {"path": "x.npy", "scale": 2}
    assert config["sampler"]["arguments"] == {"step_size": 0.05}


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "run", "--num", "20", "--steps", "2"),
        ("sample", "run", "--num", "3"),
        ("pack", "run", "--out", "packed"),
        ("export", "run", "--out", "e.pt2"),
        ("likelihood", "run"),
        ("compose", "run", "run"),
        ("train", "array", "--config", "all.yaml", "--out", "other"),
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_imported_that_was_not_named(trained: Path, ask, words) -> None:
    shutil.copy(trained / "config.json", "all.yaml")  # JSON is YAML
    code, told = ask(*words)
    assert code == 2
    assert "imported only where you name it: pass --" in told
    assert "--trust" in told
    assert told.count("\n") == 1
    assert not Path("imported").exists()


def test_named_again_or_trusted_it_is_used(trained: Path, ask) -> None:
    few = ("--num", "20", "--steps", "2")
    code, told = ask("evaluate", "run", *NAMED, *few)
    assert code == 0, told
    assert Path("imported").exists()
    first = json.loads((trained / "scores.json").read_text())
    assert ask("evaluate", "run", "--trust", *few)[0] == 0
    assert json.loads((trained / "scores.json").read_text()) == first
    network, sampler = NAMED[2:4], NAMED[4:]
    assert ask("sample", "run", *network, *sampler, "--num", "3", "--steps", "2")[0] == 0
    other = ("--sampler", "mala", "--warm-up", "20")
    code, told = ask("sample", "run", "--trust", *other, "--num", "4", "--steps", "2")
    assert code == 0, told
    assert ask("pack", "run", "--out", "packed", *network, *sampler)[0] == 0
    card = Path("packed/README.md").read_text()
    assert "Needs code that is not here" in card
    assert "mine.py:MyNet" in card
    code, told = ask("sample", "packed", "--num", "3")
    assert code == 2
    assert "--network mine.py:MyNet" in told
    assert ask("sample", "packed", "--num", "3", "--steps", "2", *network, *sampler)[0] == 0
    assert ask("plot", "run")[0] == 0


def test_a_strangers_run_does_not_say_which_files_are_read(trained: Path, ask, home: Path) -> None:
    """The path that a loader is called with is followed in the user's own runs alone."""
    (home / "cache" / "stanley" / "key").unlink(missing_ok=True)
    for key in home.rglob("key"):
        key.unlink()
    few = ("--num", "20", "--steps", "2")
    code, told = ask("evaluate", "run", *NAMED, *few)
    assert code == 2
    assert "mine.py:load needs path" in told
    assert ask("evaluate", "run", *NAMED, "--data.path", "x.npy", *few)[0] == 0


def test_the_same_command_resumes_bit_for_bit(trained: Path, ask) -> None:
    unbroken = checkpoint.newest(trained / "checkpoints")
    assert unbroken is not None
    assert unbroken.path is not None
    unbroken.path.unlink()
    code, told = ask("train", "array", *OWN, *SHORT, "--out", "run")
    assert code == 0, told
    again = checkpoint.newest(trained / "checkpoints")
    assert again is not None
    same_state(unbroken, again)


@pytest.mark.filterwarnings("default")
def test_a_file_that_has_changed_is_told(trained: Path, ask) -> None:
    Path("mine.py").write_text(MINE + "\n# another line\n")
    code, told = ask("evaluate", "run", *NAMED, "--num", "20", "--steps", "2")
    assert code == 0
    assert "warning: network mine.py:MyNet has changed since the run was trained" in told
    code, told = ask("train", "array", *OWN, *SHORT, "--out", "run")
    assert code == 0
    assert "resuming with changed" in told
    assert "network.checksum" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "mine.py:MyNett"], "mine.py has no 'MyNett': did you mean 'MyNet'?"),
        (["--network", "nothere.py:Net"], "nothere.py is not a file"),
        (["--network", "no.such.module:Net"], "cannot import no.such.module: ModuleNotFoundError"),
        (["--network", "mine.py:number"], "is a int, but must be a class or function"),
        (["--network", "mine.py:load"], "mine.py:load needs path"),
        (["--network", "mine.py:broken"], "mine.py:broken raised IndexError"),
        (["--network", "mine.py:network", "--network.width", "8"], "takes no arguments, but width"),
        (["--network", "mine.py:MyNet", "--network.widht", "8"], "did you mean 'width'?"),
        (["--network", "mine.py:MyNet", "--network.width", "many"], "raised TypeError"),
        (["--data", "mine.py:MyNet"], "mine.py:MyNet needs event_shape"),
        (["--data", "mine.py:number"], "data are a int, but must be a tensor"),
        (["--sampler", "mine.py:MyNet"], "MyNet"),
        (["--sampler", "mine.py:MySampler", "--sampler.step-size", "-1"], "must have a number > 0"),
        (["--sampler", "mine.py:number"], "sampler mine.py:number is a int"),
        (["--objective", "mine.py:number"], "objective is a int, but must be a function loss"),
        (["--objective", "mine.py:MyObjective", "--objective.powr", "2"], "did you mean 'power'?"),
        (["--objective", "mine.py:my_loss", "--objective.spred", "2"], "did you mean 'spread'?"),
        (["--objective", "mine.py:my_loss", "--objective.spread", "wide"], "my_loss failed on"),
        (["--objective", "mine.py:MyNet"], "MyNet needs event_shape"),
        (["--objective", "mine.py:MyChains", "--objective.bank-size", "3"], "bank_size is 3"),
        (["--network.kind", "by-name"], "network.name is None, but must be module:Name"),
        (["--network", "given"], "network.class is missing"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_cannot_be_used_is_told_in_one_line(home: Path, ask, words, message) -> None:
    code, told = ask("train", "rings", *SHORT, "--data.num", "200", *words, "--out", "run")
    if "--data" in words:
        code, told = ask("train", "rings", *SHORT, *words, "--out", "run")
    assert code == 2
    last = told.splitlines()[-1]
    assert last.startswith("stanley: error: ")
    assert message in last
    assert not list(Path().glob("run/records.jsonl"))


def test_a_recipe_of_ones_own(home: Path, ask) -> None:
    source = "import stanley\nfrom dataclasses import replace\n"
    source += "recipe = replace(stanley.recipe('array-contrastive'), steps=7, batch=8, warmup=0)\n"
    source += "def shorter():\n    return replace(recipe, steps=3)\n"
    source += "def no():\n    return 3\n"
    source += "own = replace(recipe, network=shorter)\n"
    Path("mine2.py").write_text(source)
    for name, steps in (("recipe", 7), ("shorter", 3)):
        code, told = ask("train", f"mine2.py:{name}", "--data.path", "x.npy")
        assert code == 0, told
        assert len(RunDirectory(f"runs/{name}").records()) == steps
        assert ask("sample", f"runs/{name}", "--num", "2", "--steps", "2")[0] == 0
    for name, message in (("no", "a int, but must be a stanley.TrainConfig"), ("own", "--network")):
        code, told = ask("train", f"mine2.py:{name}")
        assert code == 2
        assert message in told


def test_a_made_network_and_data_that_are_no_function(home: Path, ask) -> None:
    Path("x.py").write_text("import torch\nx = torch.randn(300, 2)\n")
    words = ["--network", "mine.py:network", "--data", "x.py:x"]
    code, told = ask("train", "array-contrastive", *SHORT, *words, "--out", "run")
    assert code == 0, told


def test_a_run_of_the_library_takes_none(home: Path, ask) -> None:
    words = ["array-contrastive", "--data.path", "x.npy", *SHORT]
    assert ask("train", *words, "--out", "run")[0] == 0
    code, told = ask("sample", "run", "--network", "mine.py:MyNet", "--num", "2")
    assert code == 2
    assert "network 'mlp' of the library" in told
    code, told = ask("sample", "--target", "banana", "--network", "mine.py:MyNet")
    assert code == 2
    assert "changes nothing here" in told
    # its energy can be sampled by a sampler of one's own
    words = ["--sampler", "mine.py:MySampler", "--sampler.step-size", "0.1"]
    assert ask("sample", "run", *words, "--num", "2", "--steps", "2")[0] == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("my_loss", {"spread": 0.5}),
        ("MyObjective", {}),
        ("MyChains", {"slope": 0.1, "bank_size": 40, "chain_steps": 2}),
    ],
)
def test_an_objective_of_ones_own(home: Path, ask, name: str, arguments: dict) -> None:
    """Named for training, and not needed for what comes after it."""
    fields = [w for k, v in arguments.items() for w in (f"--objective.{k}", str(v))]
    words = ["array-contrastive", "--data.path", "x.npy", *SHORT, "--out", "run"]
    mine = ["--objective", f"mine.py:{name}", *fields]
    assert ask("train", *words, *mine)[0] == 0
    written = RunDirectory("run").read_config()["objective"]
    assert (written["kind"], written["name"]) == ("by-name", f"mine.py:{name}")
    assert written["arguments"] == arguments
    assert len(written["checksum"]) == 16
    assert (written["like"] is None) == (name != "MyChains")

    Path("imported").unlink()
    for module in [n for n in sys.modules if n.startswith("stanley_target_")]:
        del sys.modules[module]
    few = ("--num", "20", "--steps", "2")
    for command in (("evaluate", "run", *few), ("sample", "run", "--num", "3", "--trust")):
        code, told = ask(*command)
        assert code == 0, told
    assert ask("pack", "run", "--out", "packed")[0] == 0
    assert ask("sample", "packed", "--num", "3", "--steps", "2")[0] == 0
    shutil.copy("run/config.json", "all.yaml")  # JSON is YAML
    code, told = ask("train", "array", "--config", "all.yaml", "--out", "run")
    assert code == 2
    assert f"objective mine.py:{name}, which is imported only where you name it" in told
    assert not Path("imported").exists()

    unbroken = checkpoint.newest(Path("run/checkpoints"))
    assert unbroken is not None
    assert unbroken.path is not None
    for again in ([*words, *mine], ["array", "--config", "all.yaml", "--trust", "--out", "run"]):
        unbroken.path.unlink()
        code, told = ask("train", *again)
        assert code == 0, told
        resumed = checkpoint.newest(Path("run/checkpoints"))
        assert resumed is not None
        same_state(unbroken, resumed)
    code, told = ask("train", *words)
    assert code == 2
    assert f"pass --objective mine.py:{name} (or --trust)" in told


@pytest.mark.filterwarnings("ignore:the Fréchet distance")
def test_events_of_numbers_with_several_axes(home: Path, ask) -> None:
    """(C, H, W) in float32: trained, judged and scored, and no pictures of bytes."""
    source = "import torch\nfrom torch import nn\n"
    source += "net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(24, 1),"
    source += " nn.Flatten(0))\nx = 3 + torch.randn(100, 2, 5, 4)\n"
    Path("events.py").write_text(source)
    named = ["--network", "events.py:net", "--data", "events.py:x"]
    code, told = ask("train", "array-contrastive", *SHORT, *named, "--out", "run")
    assert code == 0, told
    assert RunDirectory("run").read_config()["data"]["standardise"] is False
    for words in (("evaluate", "run", *named, "--num", "20"), ("sample", "run", *named[:2])):
        code, told = ask(*words, "--steps", "2")
        assert code == 0, told
    np.save("new.npy", RNG.normal(size=(5, 2, 5, 4)))
    code, told = ask("ood", "run", "new.npy", *named)
    assert code == 0, told
    assert "percentiles among 10 held-out rows" in told
    rows = Path("run/ood/new.csv").read_text().splitlines()
    assert len(rows) == 6
    assert len(rows[0].split(",")) == rows[0].count("x[") + rows[0].split(",").index("x[0]")
    assert rows[0].count("x[") == 40
    np.save("other.npy", RNG.normal(size=(5, 2, 4, 5)))
    code, told = ask("ood", "run", "other.npy", *named)
    assert code == 2
    assert "other.npy holds float64 (5, 2, 4, 5), but must hold points (N, 2, 5, 4)" in told
    for words in (["--held-out", "2"], ["new.png"]):
        code, told = ask("inpaint", "run", *words, *named, "--mask", "right-half")
        assert code == 2
        assert "points of shape (2, 5, 4) of numbers, not images of bytes" in told


def test_flags_of_ones_own_code_are_its_arguments() -> None:
    flags = parse_fields(["--sampler", "m:S", "--sampler.a-b", "3", "--network", "m:N"])
    config = resolve("rings", {}, flags)
    assert config.sampler == NamedSampler("m:S", {"step_size": 0.09, "a_b": 3})
    inside = resolve(
        "rings", {}, parse_fields(["--sampler", "adjusted", "--sampler.proposal", "m:S"])
    )
    assert inside.sampler.proposal.name == "m:S"  # type: ignore[union-attr]


def test_negative_control_a_run_edited_to_name_code_is_not_followed(home: Path, ask) -> None:
    """A stranger's run: its network is put in the place of one of the library."""
    words = ["array-contrastive", "--data.path", "x.npy", *SHORT]
    assert ask("train", *words, "--out", "run")[0] == 0
    saved = checkpoint.newest(Path("run/checkpoints"))
    assert saved is not None
    named = {"kind": "by-name", "name": "mine.py:MyNet", "arguments": {}}
    saved.meta["config"]["network"] = named
    checkpoint.save(saved, Path("run/checkpoints"), 3)
    write_json(Path("run/config.json"), RunDirectory("run").read_config() | {"network": named})
    for command in ("evaluate", "sample", "export"):
        more = ["--out", "e.pt2"] if command == "export" else []
        code, told = ask(command, "run", *more)
        assert code == 2
        assert "imported only where you name it" in told
    assert not Path("imported").exists()
    with pytest.raises(StanleyError, match="imported only where you name it"):
        stanley.load("run")
