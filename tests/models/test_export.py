"""Exported energies are the network's, at batch sizes they were not traced with."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from stanley.cli import main
from stanley.errors import StanleyError
from stanley.models import export
from stanley.models.export import export_energy
from stanley.models.trained import Trained, load
from stanley.networks import MLP, ConvNet, ResNet, WithReference
from stanley.training.bank import StartNoise
from stanley.training.config import TrainConfig
from stanley.training.loop import train

IMAGE = (3, 16, 16)
NETWORKS = {
    "mlp": (MLP(width=8), (2,)),
    "convnet": (ConvNet(width=2), IMAGE),
    "resnet": (ResNet(width=4, spectral_norm=True), IMAGE),
}
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript")),
    reason="the extra onnx is not installed",
)


def model_of(small: TrainConfig, name: str) -> Trained:
    network, shape = NETWORKS[name]
    torch.manual_seed(0)
    energy = WithReference(network.build(shape), 2.0).eval().requires_grad_(False)
    noise = StartNoise(torch.zeros(shape), torch.ones(shape), len(shape) == 3)
    return Trained(
        replace(small, network=network),
        1,
        "average",
        energy,
        small.sampler,
        torch.zeros(0, *shape),
        noise,
        Path(),
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_pt2_is_the_energy(small: TrainConfig, tmp_path: Path, name: str) -> None:
    model = model_of(small, name)
    made = export_energy(model, tmp_path / "e.pt2")
    graph = torch.export.load(made.path).module()
    for n in (1, 3, 17):
        x = model.noise.draw(n, torch.Generator().manual_seed(n)).requires_grad_()
        e = model.energy(x)
        assert torch.allclose(graph(x), e, rtol=1e-5, atol=1e-6 * made.scale)
        gradients = [torch.autograd.grad(f(x).sum(), x)[0] for f in (graph, model.energy)]
        assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5 * float(gradients[1].abs().max()))
    assert made.n == 8
    assert [p.name for p in tmp_path.iterdir()] == ["e.pt2"]
    with zipfile.ZipFile(made.path) as archive:
        meta = json.loads(archive.read("archive/extra/stanley"))
    assert (
        meta.items()
        >= {"temperature": 1.0, "event_shape": list(model.event_shape), "step": 1}.items()
    )


@needs_onnx
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_is_the_energy(small: TrainConfig, tmp_path: Path, name: str) -> None:
    model = model_of(small, name)
    made = export_energy(model, tmp_path / "e.onnx")
    run, _ = export.onnx_runner(made.path)
    for n in (1, 3, 17):
        x = model.noise.draw(n, torch.Generator().manual_seed(n))
        assert torch.allclose(run(x), model.energy(x), rtol=1e-4, atol=1e-5 * made.scale)


@pytest.mark.parametrize("broken", ["doubled", "rows mixed", "one batch size"])
def test_a_wrong_graph_is_not_written(
    small: TrainConfig, tmp_path: Path, monkeypatch, broken: str
) -> None:
    """Negative control: the comparison sees a factor, rows that touch,
    and a batch size that was burnt in.
    """
    model = model_of(small, "mlp")
    wrong = {
        "doubled": lambda e: lambda x: 2 * e(x),
        "rows mixed": lambda e: lambda x: e(x).flip(0),
        "one batch size": lambda e: lambda x: e(x[:1]).expand(len(x)),
    }[broken]
    real = export.to_pt2

    def spoiled(*arguments):
        content, _, _ = real(*arguments)
        return content, wrong(model.energy), "nothing"

    monkeypatch.setattr(export, "to_pt2", spoiled)
    with pytest.raises(StanleyError, match=r"energies that differ by .*; nothing was written"):
        export_energy(model, tmp_path / "e.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("always:kept the former answer")
def test_commands_and_errors(
    small: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(small, tmp_path / "run", device="cpu")
    monkeypatch.chdir(tmp_path)
    for words in (("raw.pt2", "--weights", "raw"), ("e.pt2", "--json")):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["export", "run", "--out", *words])
        assert not end.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] <= 1e-4 * told["scale"]
    x = load("run", device="cpu").noise.draw(3, torch.Generator().manual_seed(0))
    raw = torch.export.load("raw.pt2").module()
    assert torch.allclose(
        raw(x), load("run", weights="raw", device="cpu").energy(x), rtol=1e-5, atol=1e-6
    )
    before = Path("e.pt2").read_bytes()
    Path("mine.pt2").write_text("mine")
    for words, message in (
        (("e.pt2", "--weights", "raw"), "weights average, now raw) as e-former.pt2"),
        (("mine.pt2",), "a request that is not written down) as mine-former.pt2"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["export", "run", "--out", *words])
        assert not end.value.code
        assert message in capsys.readouterr().err
    assert Path("e-former.pt2").read_bytes() == before
    assert Path("mine-former.pt2").read_text() == "mine"
    with pytest.raises(SystemExit) as end:
        main(["export", "run", "--out", "mine.pt2"])  # the same energy again
    assert not end.value.code
    assert "kept" not in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    capsys.readouterr()
    for words, message in {
        ("export", "run", "--out", "e.onnx"): "pip install 'stanley[onnx]', or export to .pt2",
        ("export", "run", "--out", "e.txt"): "ends in '.txt', must end in .pt2 or .onnx",
        ("export", "run", "--out", "no/e.pt2"): "the folder no is not there",
        ("export", "nothing", "--out", "e.pt2"): "no such run directory",
    }.items():
        with pytest.raises(SystemExit):
            main(words)
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1, told
    assert not (tmp_path / "e.onnx").exists()
