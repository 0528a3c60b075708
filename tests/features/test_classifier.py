"""Classifier features: folding is exact, files are checked, the same seed gives the same
weights.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stanley.cli import main
from stanley.data import CIFAR10, MNIST
from stanley.errors import StanleyError
from stanley.features.classifier import (
    WEIGHTS,
    Classifier,
    ClassifierFeatures,
    Residual,
    classifier_features,
    folded,
    load_classifier,
    save_classifier,
)
from stanley.features.classifier_training import (
    RECIPES,
    ClassifierRecipe,
    train_classifier,
    windows,
)
from stanley.runs import checkpoint
from stanley.training.config import TrainConfig
from stanley.training.loop import train

WIDTHS = (4, 6, 8)
TINY = ClassifierRecipe("tiny", widths=(4, 8, 8), epochs=4, shift=1, flip=False, batch=32, lr=0.1)
SHIPPED = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def images(n: int, *shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) - 1


def trained_looking(channels: int = 3) -> Classifier:
    """A network whose normalisation is far from the identity, as after training."""
    torch.manual_seed(0)
    network = Classifier(channels, WIDTHS, norm=True).double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for t, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2)):
                assert t is not None
                t.uniform_(low, high)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    return network.eval()


def test_folding_changes_nothing_but_rounding() -> None:
    network, x = trained_looking(), images(3, 3, 16, 16).double()
    # folded in double, kept in float32: the weights are rounded once
    plain = folded(network, 3, WIDTHS).double()
    with torch.no_grad():
        expected, got = network(x), plain(x)
    scale = expected.abs().max()
    assert (got - expected).abs().max() <= 100 * 2**-24 * scale  # seven layers, each rounded once
    network.train()
    with torch.no_grad():
        # control: with the batch's own moments it is another
        assert (network(x) - expected).abs().max() > 1e-3 * scale


def test_a_residual_pair_adds_to_what_it_gets() -> None:
    """x + φ(W₂ * φ(W₁ * x)) is x where W₂ = 0, for φ(0) = 0."""
    pair, x = Residual(4, norm=False), images(2, 4, 6, 6)
    assert not torch.equal(pair(x), x)
    torch.nn.init.zeros_(pair.second.conv.weight)
    torch.nn.init.zeros_(pair.second.conv.bias)  # type: ignore[arg-type]
    assert torch.equal(pair(x), x)


def file_of(folder: Path, **changes: object) -> Path:
    meta = {
        "name": "cifar",
        "channels": 3,
        "size": 16,
        "widths": list(WIDTHS),
        "test_accuracy": 0.1,
        "n_test": 10,
    }
    save_classifier(
        folded(trained_looking(), 3, WIDTHS), {**meta, **changes}, folder / "c.safetensors"
    )
    return folder / "c.safetensors"


@pytest.fixture
def features(tmp_path: Path) -> ClassifierFeatures:
    return load_classifier(file_of(tmp_path), device="cpu")


def test_shapes_and_probabilities(features: ClassifierFeatures) -> None:
    x = images(5, 3, 16, 16)
    assert features(x).shape == (5, WIDTHS[-1])
    p = features.probabilities(x)
    assert p.shape == (5, 10)
    assert torch.allclose(p.sum(1), torch.ones(5), atol=1e-6)
    assert torch.allclose(p.log(), features.network.head(features(x)).log_softmax(1), atol=1e-5)
    assert features.name.startswith("cifar-")
    assert not features(x).requires_grad


def test_each_row_depends_on_its_own_image(features: ClassifierFeatures) -> None:
    x = images(5, 3, 16, 16)
    alone = torch.cat([features(row[None]) for row in x])
    assert torch.allclose(features(x), alone, atol=1e-6)


def test_images_of_another_size_are_resized(features: ClassifierFeatures) -> None:
    flat = torch.full((2, 3, 40, 24), 0.3)
    assert torch.allclose(features(flat), features(torch.full((2, 3, 16, 16), 0.3)), atol=1e-5)
    coarse = images(2, 3, 8, 8)
    by_hand = torch.nn.functional.interpolate(
        coarse, (16, 16), mode="bilinear", align_corners=False
    )
    assert torch.allclose(features(coarse), features(by_hand), atol=1e-5)


def test_other_shapes_are_refused(features: ClassifierFeatures) -> None:
    with pytest.raises(StanleyError, match=r"are 1-channel, but cifar-.* need 3-channel"):
        features(images(2, 1, 16, 16))
    with pytest.raises(StanleyError, match=r"have shape \(2, 5\), but .* need images"):
        features.probabilities(images(2, 5))


def test_bad_files(tmp_path: Path, small: TrainConfig) -> None:
    path = file_of(tmp_path)
    whole = path.read_bytes()
    with pytest.raises(StanleyError, match="weights do not fit"):
        load_classifier(file_of(tmp_path, widths=[4, 6]))
    with pytest.raises(StanleyError, match=r"weights do not fit .* first at 'stem.conv.weight'"):
        load_classifier(file_of(tmp_path, channels=1))
    with pytest.raises(StanleyError, match="describes no classifier"):
        load_classifier(file_of(tmp_path, widths=None))
    path.write_bytes(whole[:-2])
    with pytest.raises(StanleyError, match="truncated or corrupt"):
        load_classifier(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StanleyError, match="checksum"):
        load_classifier(path)
    with pytest.raises(StanleyError, match="holds 'a training run', not a classifier"):
        load_classifier(checkpoint.saved(train(small, tmp_path / "run").checkpoints)[0])
    with pytest.raises(StanleyError, match="unknown features 'imagenet'"):
        classifier_features("imagenet")  # type: ignore[arg-type]


def write_mnist(folder: Path, n: int, seed: int) -> Tensor:
    """Digit k is a bright square in the k-th place of a grid, on noise."""
    rng = np.random.default_rng(seed)
    every = []
    for split, count in (("train", n), ("t10k", 100)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        x = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, k in zip(x, labels, strict=True):
            row, column = divmod(int(k), 4)
            image[9 * row + 1 : 9 * row + 7, 7 * column : 7 * column + 6] += 190
        (folder / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, *x.shape) + x.tobytes()
        )
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 2049, count) + labels.tobytes()
        )
        every.append(torch.from_numpy(labels))
    return every[1]


def test_training_learns_and_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """Ten places are told apart by a network that averages over pixels only because its borders are
    padded.
    """
    write_mnist(tmp_path, 640, 0)
    spec, before = MNIST(root=str(tmp_path), size=14), torch.get_rng_state()
    made = train_classifier(TINY, spec, tmp_path / "a.safetensors", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    accuracy, n = made.meta["test_accuracy"], made.meta["n_test"]
    assert n == 100
    assert accuracy > 0.1 + 4 * (0.1 * 0.9 / n) ** 0.5  # guessing reaches this once in 30,000
    images, (_, labels) = spec.load(), spec.labels()
    guesses = made.probabilities((images.test.float() + 0.5) / 128 - 1).argmax(1)
    # of the file as written
    assert float((guesses == labels).float().mean()) == pytest.approx(accuracy, abs=1e-6)
    short = replace(TINY, epochs=1)
    files = [tmp_path / f"{name}.safetensors" for name in "bcd"]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        train_classifier(short, spec, file, seed=seed, device="cpu")
    same, again, other = (checkpoint.load(file) for file in files)
    assert checkpoint.checksum(same.tensors, same.meta) == checkpoint.checksum(
        again.tensors, again.meta
    )
    assert not any(torch.equal(t, other.tensors[name]) for name, t in same.tensors.items())


def test_windows_are_pieces_of_the_image() -> None:
    x = torch.randint(
        0, 256, (6, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    g = torch.Generator().manual_seed(1)
    still = replace(TINY, shift=0)
    assert torch.equal(windows(x, 12, still, g), x)
    for image, piece in zip(x, windows(x, 8, still, g), strict=True):
        # (25, 3, 8, 8)
        places = image.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert (places == piece).flatten(1).all(1).any()
    mirrored = windows(x.repeat(50, 1, 1, 1), 12, replace(still, flip=True), g)
    same = (mirrored == x.repeat(50, 1, 1, 1)).flatten(1).all(1).sum()
    assert abs(int(same) - 150) <= 4 * 75**0.5  # ½ of 300, four standard deviations
    assert torch.equal(
        torch.where(
            (mirrored == x.repeat(50, 1, 1, 1)).flatten(1).all(1)[:, None, None, None],
            mirrored,
            mirrored.flip(-1),
        ),
        x.repeat(50, 1, 1, 1),
    )


def test_the_rate_is_one_cycle() -> None:
    recipe = RECIPES["cifar10"]
    assert recipe.rate(0.2) == pytest.approx(recipe.lr)
    assert recipe.rate(0.1) == pytest.approx(recipe.lr / 2)
    assert recipe.rate(1) == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_features(name: str) -> None:
    features = classifier_features(name, device="cpu")  # type: ignore[arg-type]
    channels, size, _ = features.event_shape
    assert features.name == name
    assert features(images(3, channels, size, size)).shape == (3, {"cifar": 128, "mnist": 64}[name])
    assert features.meta["n_test"] == 10_000
    assert features.meta["test_accuracy"] > {"cifar": 0.8, "mnist": 0.99}[name]
    limit = {"cifar": 3e6, "mnist": 3e5}[name]
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size <= limit
    assert "root" not in features.meta["data"]
    other = 4 - channels
    with pytest.raises(StanleyError, match=f"are {other}-channel, but {name} features need"):
        features(images(2, other, size, size))


def test_all_that_is_promised_is_shipped() -> None:
    assert SHIPPED == ["cifar", "mnist"]


def test_training_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    write_mnist(tmp_path, 40, 0)
    with pytest.raises(StanleyError, match="images have 2 pixels a side"):
        train_classifier(TINY, MNIST(root=str(tmp_path), size=2), tmp_path / "x.safetensors")
    with pytest.raises(StanleyError, match="seed is -1"):
        train_classifier(TINY, MNIST(root=str(tmp_path)), tmp_path / "x.safetensors", seed=-1)
    with pytest.raises(StanleyError, match="holds no CIFAR-10"):
        train_classifier(TINY, CIFAR10(root=str(tmp_path)), tmp_path / "x.safetensors")


def test_another_classifier_in_the_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, 40, 0)
    monkeypatch.setitem(RECIPES, "mnist", TINY)
    out = tmp_path / "a.safetensors"
    request = (
        "features",
        "train",
        "mnist",
        "--data.root",
        str(tmp_path),
        "--out",
        str(out),
        "--device",
        "cpu",
    )

    def asked(*flags: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            with pytest.raises(SystemExit) as end:
                main([*request, *flags])
        assert not end.value.code
        return capsys.readouterr().err

    assert "kept" not in asked("--epochs", "1") + asked("--epochs", "1")  # the same request
    for number, (flags, differs) in enumerate(
        (
            (("--epochs", "2"), "recipe.epochs 1, now 2"),
            (("--epochs", "1", "--seed", "1"), "recipe.epochs 2, now 1"),
            (("--epochs", "1", "--limit", "30", "--seed", "1"), "data.limit None, now 30"),
        ),
        start=1,
    ):
        before = out.read_bytes()
        kept = tmp_path / f"a-former{'' if number == 1 else f'-{number}'}.safetensors"
        assert f"kept the former answer ({differs}) as {kept}" in asked(*flags)
        assert kept.read_bytes() == before
    out.write_text("mine")
    assert "to a request that is not written down" in asked("--epochs", "1")
    assert (tmp_path / "a-former-4.safetensors").read_text() == "mine"
