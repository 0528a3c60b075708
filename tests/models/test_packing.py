"""Packed models: the same energy, chains and step size as the run;
whatever is wrong with a file is told in a line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stanley.cli import main
from stanley.data import Array
from stanley.errors import StanleyError
from stanley.models import packing as models
from stanley.models.packed import CARD, MODEL, is_packed, read_packed
from stanley.models.packing import PRETRAINED, SHIPPED, pack, pretrained, rounding_loss
from stanley.models.trained import Trained, load
from stanley.networks import ConvNet, ResNet
from stanley.runs import checkpoint
from stanley.runs.checkpoint import Checkpoint
from stanley.samplers import Langevin
from stanley.streams import stream
from stanley.training.config import TrainConfig
from stanley.training.loop import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plane`: rings; `images`: 16×16 colour images, at a temperature and with a Gaussian
    reference.
    """
    from tests.conftest import changed, small

    config = (
        small.__wrapped__() if hasattr(small, "__wrapped__") else small.__pytest_wrapped__.obj()
    )
    folder = tmp_path_factory.mktemp("runs")
    train(config, folder / "plane", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), np.uint8)
    np.save(folder / "pixels.npy", pixels)
    colour = changed(
        config,
        data=Array(path=str(folder / "pixels.npy")),
        network=ResNet(width=4, spectral_norm=True),
        sampler=Langevin(1e-4),
        adapt=None,
        temperature=0.01,
        reference_std=3.0,
        steps=6,
    )
    train(colour, folder / "images", device="cpu")
    return folder


def points(model: Trained, n: int = 20) -> torch.Tensor:
    return model.noise.draw(n, torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", ["plane", "images"])
def test_a_packed_model_is_the_run(runs: Path, tmp_path: Path, name: str) -> None:
    run = load(runs / name, device="cpu")
    folder = pack(runs / name, tmp_path / "packed", bank=16)
    packed = load(folder, device="cpu")
    x = points(run)
    # every weight is rounded by at most 2^-11 of itself, at most eight layers, each way
    limit = 2 * 2**-11 * 8
    e, rounded = run.energy(x), packed.energy(x)
    assert (rounded - e).abs().max() <= limit * e.abs().max()
    assert not torch.equal(e, rounded)  # the rounding is real, and this test could see it
    assert packed.sampler == run.sampler
    assert packed.step == run.step
    assert torch.equal(packed.noise.mean, run.noise.mean)
    assert torch.equal(packed.noise.std, run.noise.std)
    assert packed.noise.is_image == run.noise.is_image
    assert packed.config == replace(run.config, data=packed.config.data)
    order = torch.randperm(len(run.bank), generator=stream(0, "packed chains"))[:16]
    assert len(packed.bank) == 16
    assert torch.allclose(
        packed.bank, run.bank[order], atol=2**-11 * float(run.bank.abs().max()), rtol=0
    )
    assert packed.sample(3, steps=2, start="bank").x.shape == (3, *run.event_shape)
    assert packed.sample(3, steps=2).x.isfinite().all()
    assert (folder / MODEL).stat().st_size < (runs / name / "checkpoints").stat().st_size + 4e6
    assert not any(p.requires_grad for p in packed.energy.parameters())


def test_what_rounding_costs_is_measured(runs: Path, tmp_path: Path) -> None:
    meta = read_packed(pack(runs / "images", tmp_path / "p")).meta
    model, packed = load(runs / "images", device="cpu"), load(tmp_path / "p", device="cpu")
    x = torch.cat(
        [model.bank[:64], model.noise.draw(64, stream(0, "points of rounding"))]
    ).requires_grad_()
    g, h = (torch.autograd.grad(m.energy(x).sum(), x)[0] for m in (model, packed))
    assert meta["weights"]["stored"] == "float16"
    assert meta["weights"]["n"] == len(x)
    assert meta["weights"]["gradient"] == pytest.approx(float((g - h).norm() / g.norm()), rel=1e-3)
    u = (model.energy(x) - packed.energy(x)).detach() / model.config.temperature
    assert meta["weights"]["potential"] == pytest.approx(float(u.std()), rel=1e-2)
    # control: the same weights cost nothing
    assert rounding_loss(model, model.energy)["gradient"] == 0


def test_weights_that_float16_spoils_stay_in_float32(
    runs: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(models, "GRADIENT_LOSS", 1e-9)
    folder = pack(runs / "plane", tmp_path / "p")
    assert read_packed(folder).meta["weights"] == {
        "stored": "float32",
        "gradient": 0.0,
        "potential": 0.0,
        "n": 128,
    }
    run, packed = load(runs / "plane", device="cpu"), load(folder, device="cpu")
    assert torch.equal(run.energy(points(run)), packed.energy(points(run)))
    with (tmp_path / "p" / CARD).open() as file:
        assert "float32" in file.read()


def test_weights_beyond_float16_stay_in_float32(runs: Path, tmp_path: Path) -> None:
    """1e6 is infinite in float16: the measured change is not a number,
    and that is not below the limit.
    """
    shutil.copytree(runs / "plane", tmp_path / "run")
    saved = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    name = next(n for n in saved.tensors if n.startswith("average.") and n.endswith("weight"))
    saved.tensors[name].view(-1)[0] = 1e6
    checkpoint.save(Checkpoint(saved.tensors, saved.meta), tmp_path / "run" / "checkpoints", 1)
    assert (
        read_packed(pack(tmp_path / "run", tmp_path / "p")).meta["weights"]["stored"] == "float32"
    )


def test_chains_keep_their_precision_where_the_noise_is_small() -> None:
    positions = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    assert models.first_chains(positions, 10, step_size=1e-2).dtype == torch.float16
    assert models.first_chains(positions, 10, step_size=1e-8).dtype == torch.float32
    assert models.first_chains(positions, 0, step_size=1e-2).shape == (0, 2)
    assert len(models.first_chains(positions, 99, step_size=1e-2)) == 50


def test_no_path_of_this_machine_is_in_the_files(runs: Path, tmp_path: Path) -> None:
    folder = pack(runs / "images", tmp_path / "p")
    assert str(runs) in (runs / "images" / "config.json").read_text()  # control: the run names it
    for path in folder.iterdir():
        assert str(runs).encode() not in path.read_bytes()
        assert b"pixels.npy" not in path.read_bytes()


def test_the_card_says_what_was_measured(runs: Path, tmp_path: Path) -> None:
    assert "was not evaluated" in (pack(runs / "plane", tmp_path / "before") / CARD).read_text()
    shutil.copytree(runs / "plane", tmp_path / "run")
    frechet = {"value": 0.125, "feature": "pixels", "n1": 300, "n2": 400}
    scores = {
        "step": 24,
        "kl": 0.25,
        "tv": 0.1,
        "chains": {"fresh": {"steps": 9, "start": "noise"}},
    }
    scores["fresh"] = {"n": 300, "nonfinite": 0, "frechet": frechet}
    # scores of an earlier checkpoint are not this one's
    for step, seen in ((24, True), (18, False)):
        (tmp_path / "run" / "scores.json").write_text(json.dumps(scores | {"step": step}))
        card = (pack(tmp_path / "run", tmp_path / f"p{step}") / CARD).read_text()
        assert ("KL(data‖model) 0.2500 nats" in card) == seen
        assert ("frechet 0.125 in features pixels (n 300 and 400)" in card) == seen
    for words in ("24 iterations of 32 points", "seed 3", "## Limits", "not normalised"):
        assert words in card
    images = (pack(runs / "images", tmp_path / "i") / CARD).read_text()
    assert "carry the bias of its step size" in images
    assert "carry the bias" not in card


def test_requests_that_cannot_be_carried_out(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        StanleyError, match=r"the packed model has .* MB, limit 0.001 MB; keep fewer chains than 64"
    ):
        pack(runs / "plane", tmp_path / "p", limit_mb=0.001)
    assert not (tmp_path / "p").exists()
    with pytest.raises(StanleyError, match="bank is -1"):
        pack(runs / "plane", tmp_path / "p", bank=-1)
    with pytest.raises(StanleyError, match="no such run directory"):
        pack(tmp_path / "nothing", tmp_path / "p")
    folder = pack(runs / "plane", tmp_path / "p")
    pack(runs / "plane", folder)  # over an older one of its kind
    with pytest.raises(StanleyError, match="is packed already"):
        pack(folder, tmp_path / "q")
    with pytest.raises(StanleyError, match="holds averaged weights only"):
        load(folder, weights="raw")
    with pytest.raises(StanleyError, match="is a run directory"):
        pack(runs / "plane", runs / "plane")
    (tmp_path / "file").touch()
    with pytest.raises(StanleyError, match=r"cannot create .*file"):
        pack(runs / "plane", tmp_path / "file" / "p")


def rewritten(folder: Path, change) -> Path:
    """The packed file with its content changed and a checksum that fits."""
    saved = checkpoint.load(folder / MODEL)
    tensors, meta = dict(saved.tensors), dict(saved.meta)
    change(tensors, meta)
    (folder / MODEL).write_bytes(models.serialised(tensors, meta))
    return folder


BAD = {
    "step_size is missing": lambda t, m: m.pop("step_size"),
    "lacks 'noise.std'": lambda t, m: t.pop("noise.std"),
    "not a packed model": lambda t, m: m.pop("holds"),
    "holds 'classifier'": lambda t, m: m.update(holds="classifier"),
    "update stanley": lambda t, m: m.update(format=99),
    r"'bank.positions' has points of shape \(1,\)": lambda t, m: t.update(
        {"bank.positions": torch.zeros(4, 1)}
    ),
    "weights do not fit the configured network, first at 'layers.0.weight'": (
        lambda t, m: m["config"].update(network=m["config"]["network"] | {"width": 17})
    ),
    "first at 'layers.9.weight'": lambda t, m: t.update(
        {"average.layers.9.weight": torch.zeros(1)}
    ),
    "network.kind": lambda t, m: m["config"].update(network={"kind": "transformer"}),
}


@pytest.mark.parametrize("message", BAD)
def test_foreign_and_damaged_content(runs: Path, tmp_path: Path, message: str) -> None:
    folder = rewritten(pack(runs / "plane", tmp_path / "p"), BAD[message])
    with pytest.raises(StanleyError, match=message) as caught:
        load(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_foreign_and_damaged_files(runs: Path, tmp_path: Path) -> None:
    from safetensors.torch import save

    folder = pack(runs / "plane", tmp_path / "p")
    whole = (folder / MODEL).read_bytes()
    for content, message in (
        (whole[:-3], "truncated or corrupt"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "checksum does not match"),
        (b"", "truncated or corrupt"),
        (save({"weight": torch.zeros(2)}), "is not a stanley checkpoint"),
    ):
        (folder / MODEL).write_bytes(content)
        with pytest.raises(StanleyError, match=message):
            load(folder, device="cpu")
    (folder / MODEL).unlink()
    with pytest.raises(StanleyError, match=r"holds no model\.safetensors"):
        read_packed(folder)


def test_pretrained_models_are_what_is_shipped(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {p.name for p in SHIPPED.iterdir()} if SHIPPED.exists() else set()
    assert set(PRETRAINED) == there
    with pytest.raises(StanleyError, match="no pretrained model 'nothing'"):
        pretrained("nothing")
    pack(runs / "plane", tmp_path / "plane")
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    monkeypatch.setitem(PRETRAINED, "plane", "rings")
    assert pretrained("plane", device="cpu").step == 24
    with pytest.raises(StanleyError, match="did you mean 'plane'"):
        pretrained("plan")


@pytest.mark.parametrize("name", sorted(PRETRAINED))
def test_shipped_models_sample(name: str) -> None:
    model = pretrained(name, device="cpu")
    assert (SHIPPED / name / MODEL).stat().st_size <= 4e6
    assert (SHIPPED / name / CARD).is_file()
    assert model.sample(2, steps=3).x.isfinite().all()
    if len(model.bank):
        assert model.sample(2, steps=3, start="bank").x.isfinite().all()


def test_another_model_in_the_folder_is_kept(small: TrainConfig, tmp_path: Path) -> None:
    a, b = train(small, tmp_path / "a"), train(replace(small, seed=4), tmp_path / "b")
    pack(a, tmp_path / "p")
    (tmp_path / "p" / "samples").mkdir()  # as stanley sample makes it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack(a, tmp_path / "p")  # the same again
    before = {name: (tmp_path / "p" / name).read_bytes() for name in (MODEL, CARD)}
    told = (
        r"kept the former answer \(config.seed \d+, now 4\) as .*model-former.safetensors, and"
        r" README-former.md"
    )
    with pytest.warns(UserWarning, match=told):
        pack(b, tmp_path / "p")
    for name, content in before.items():
        stem, _, suffix = name.rpartition(".")
        assert (tmp_path / "p" / f"{stem}-former.{suffix}").read_bytes() == content
    assert load(tmp_path / "p", device="cpu").config.seed == 4


def stanley(*words: str, capsys: pytest.CaptureFixture[str], code: int | None = None) -> str:
    """What the command prints, or its one line of error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(words)
    assert (end.value.code or 0) == (code or 0)
    if code is None:
        return capsys.readouterr().out
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    return told


@pytest.mark.filterwarnings("always:kept the former answer")
def test_commands(runs: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(
        stanley("pack", str(runs / "plane"), "--out", "p", "--bank", "8", "--json", capsys=capsys)
    )
    assert told["bytes"] == (tmp_path / "p" / MODEL).stat().st_size
    assert is_packed("p")
    few = ("--num", "4", "--steps", "3", "--device", "cpu", "--json")
    told = json.loads(stanley("sample", "p", *few, capsys=capsys))
    assert told["files"][0] == str(Path("p/samples/noise-n4-seed0.npy"))
    by_hand = load("p", device="cpu").sample(4, steps=3).x.numpy()
    assert np.array_equal(np.load(told["files"][0]), by_hand)
    other = ("sample", "p", *few, "--sampler", "langevin", "--sampler.step-size", "0.01")
    with pytest.raises(SystemExit):
        main(other)  # another request of the same name
    told = capsys.readouterr()
    assert "(sampler.step_size 0.09, now 0.01) as p/samples/noise-n4-seed0-former.json" in told.err
    assert json.loads(told.out)["sampler"]["kind"] == "langevin"
    assert np.array_equal(np.load("p/samples/noise-n4-seed0-former.npy"), by_hand)

    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    monkeypatch.setitem(PRETRAINED, "p", "rings")
    told = json.loads(stanley("sample", "--pretrained", "p", *few, capsys=capsys))
    assert told["files"][0] == str(Path("samples/p/noise-n4-seed0.npy"))  # not into the library
    assert np.array_equal(np.load(told["files"][0]), by_hand)
    tuned = ("--sampler", "langevin", "--warm-up", "5", "--out", "tuned")
    stanley("sample", "--pretrained", "p", *tuned, *few, capsys=capsys)
    judged = (
        "--steps",
        "20",
        "--num",
        "4",
        "--warm-up",
        "5",
        "--pairs",
        "0",
        "--rays",
        "0",
        "--copies",
        "0",
    )
    told = json.loads(stanley("diagnose", "--pretrained", "p", *judged, "--json", capsys=capsys))
    assert told["sampled"] == "p"
    assert Path("diagnosis/p/diagnosis.json").is_file()

    refused = {
        ("sample", "p", "--pretrained", "p"): r"both a run (p) and --pretrained p are given",
        (
            "sample",
            "--target",
            "banana",
            "--pretrained",
            "p",
        ): "both --pretrained p and --target banana",
        ("sample",): "give a run directory, --pretrained, or --target",
        ("sample", "--pretrained", "q"): "no pretrained model 'q'",
        ("sample", "--pretrained", "p", "--weights", "raw"): "--weights raw changes nothing here",
        ("sample", "--pretrained", "p", "--shape", "2"): "--shape 2 changes nothing here",
        ("sample", "p", "--weights", "raw"): "holds averaged weights only",
        ("pack", "p", "--out", "q"): "is packed already",
    }
    for words, message in refused.items():
        assert message in stanley(*words, capsys=capsys, code=2)


def test_weights_are_part_of_the_package() -> None:
    """What hatch packs is src/stanley whole, but what git ignores:
    no rule of .gitignore may hit the weights.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git checkout")
    paths = [
        "src/stanley/features/weights/cifar.safetensors",
        f"src/stanley/models/pretrained_models/mnist/{MODEL}",
    ]
    done = subprocess.run(["git", "check-ignore", *paths], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout


def test_loading_imports_nothing_that_unpickles(runs: Path, tmp_path: Path) -> None:
    """A packed model is loaded with torch.load out of reach."""
    folder = pack(runs / "plane", tmp_path / "p")
    code = (
        "import torch, pickle, sys; torch.set_num_threads(1)\n"
        "def refuse(*a, **k): raise SystemExit('unpickled')\n"
        "torch.load = pickle.load = pickle.loads = refuse\n"
        "import stanley; stanley.load(sys.argv[1], device='cpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_convnet_of_the_largest_shipped_kind_fits(tmp_path: Path) -> None:
    """The paper's network at width 32 and 128 chains of 32×32×3 pixels is below 4 MB in float16."""
    energy = ConvNet(width=32).build((3, 32, 32))
    weights = sum(p.numel() for p in energy.parameters())
    assert 2 * weights + 2 * 128 * 3 * 32 * 32 < 4e6


def test_config_is_that_of_the_run(runs: Path) -> None:
    assert isinstance(load(runs / "plane", device="cpu").config, TrainConfig)
