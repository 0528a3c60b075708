"""A small residual classifier whose last layer but one is a feature map: distances in it see
objects, not pixels.

Trained by `stanley features train`, shipped in `features/weights/`. Numbers in these features
compare with each other alone: they are not FID, and a network that was trained on the data set it
judges knows that data set best.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, silu, softmax

from stanley.device import pick_device
from stanley.errors import StanleyError, did_you_mean, require
from stanley.files import write_atomic
from stanley.runs import checkpoint

CLASSES = 10
WEIGHTS = Path(__file__).parent / "weights"
ClassifierName = Literal["cifar", "mnist"]


class Layer(nn.Module):
    """φ(norm(W * x)), 3×3, φ = SiLU; with `norm` False the normalisation is folded into W and a
    bias.
    """

    def __init__(self, fan_in: int, fan_out: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, fan_out, 3, 1, 1, bias=not norm)
        self.norm = nn.BatchNorm2d(fan_out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return silu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """x + φ(W₂ * φ(W₁ * x))."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first, self.second = Layer(width, width, norm), Layer(width, width, norm)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Classifier(nn.Module):
    """Layer, then for each further width: halve by maximum, layer, residual pair (the first
    without); mean over pixels; ten logits.

    For widths (16, 32, 64, 128) and 32×32×3 pixels 468,000 weights and 13M multiply-adds, k = 128
    features.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], norm: bool) -> None:
        super().__init__()
        self.stem = Layer(channels, widths[0], norm)
        self.stages = nn.ModuleList(
            nn.Sequential(Layer(a, b, norm), Residual(b, norm)) for a, b in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], CLASSES)

    def features(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, k)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(max_pool2d(x, 2))
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 10) logits
        return self.head(self.features(x))


def unfilled(channels: int, widths: tuple[int, ...]) -> Classifier:
    """The network without normalisation, its weights still to be loaded;
    draws no random numbers.
    """
    with torch.device("meta"):
        network = Classifier(channels, widths, norm=False)
    return network.to_empty(device="cpu")


def folded(network: Classifier, channels: int, widths: tuple[int, ...]) -> Classifier:
    """The same function in evaluation mode, without normalisation: W' = W·γ/σ, b' = β - γμ/σ."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    plain = unfilled(channels, widths)
    network = network.eval()
    modules = dict(network.named_modules())
    for name, layer in plain.named_modules():
        if isinstance(layer, Layer):
            trained = modules[name]
            fused = fuse_conv_bn_eval(trained.conv, trained.norm)  # type: ignore[arg-type]
            layer.conv.load_state_dict(fused.state_dict())
    plain.head.load_state_dict(network.head.state_dict())
    return plain.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class ClassifierFeatures:
    """Images (B, C, H, W) in [-1, 1] -> (B, k), the mean over pixels of the classifier's last maps.

    Images of another size are brought to the classifier's by bilinear interpolation (antialiased
    where it shrinks); images with another number of channels are refused. `meta` tells data,
    recipe, n and test accuracy.
    """

    name: str
    network: Classifier
    meta: dict[str, Any]

    @property
    def event_shape(self) -> tuple[int, int, int]:
        return self.meta["channels"], self.meta["size"], self.meta["size"]

    def __call__(self, x: Tensor) -> Tensor:
        return self.network.features(self.fitted(x))

    def probabilities(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 10), p(class | x) as the classifier sees it."""
        return softmax(self.network(self.fitted(x)), 1)

    def fitted(self, x: Tensor) -> Tensor:
        """The images at the classifier's size, in its precision and on its device."""
        channels, size, _ = self.event_shape
        require(
            x.ndim == 4,
            f"{self.name} features need images (B, C, H, W), got shape {tuple(x.shape)}",
        )
        require(
            x.shape[1] == channels,
            f"{self.name} features need {channels}-channel images, got {x.shape[1]} channels; use"
            " other features: cifar for colour, mnist for grey",
        )
        x = x.to(self.network.head.weight)
        if tuple(x.shape[2:]) == (size, size):
            return x
        return interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)


def classifier_features(name: ClassifierName, *, device: str = "auto") -> ClassifierFeatures:
    """The shipped features: 'cifar' (k = 128, colour, 32×32) or 'mnist' (k = 64, grey, 28×28)."""
    known = [path.stem for path in WEIGHTS.glob("*.safetensors")]
    require(name in known, f"features {name!r} are not shipped; {did_you_mean(str(name), known)}")
    return load_classifier(WEIGHTS / f"{name}.safetensors", device=device, shipped=True)


def load_classifier(
    path: Path, *, device: str = "auto", shipped: bool = False
) -> ClassifierFeatures:
    """Features of a file that `stanley features train` wrote;
    its name carries the checksum unless it is shipped.
    """
    saved = checkpoint.load(path)
    require(
        saved.meta.get("holds") == "classifier",
        f"{path} holds {saved.meta.get('holds', 'a training run')!r}, not a classifier; "
        "make one with stanley features train",
    )
    meta = saved.meta
    try:
        network = unfilled(meta["channels"], tuple(meta["widths"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StanleyError(
            f"{path} describes no classifier that can be built ({error!r})"
        ) from error
    weights = {name: t.float() for name, t in saved.tensors.items()}
    checkpoint.restore_weights(network, weights, path)
    name = (
        meta["name"]
        if shipped
        else f"{meta['name']}-{checkpoint.checksum(saved.tensors, meta)[:8]}"
    )
    return ClassifierFeatures(
        name, network.eval().requires_grad_(False).to(pick_device(device)), meta
    )


def save_classifier(network: Classifier, meta: dict[str, Any], path: Path) -> None:
    """Folded weights in float16 and what is known about them."""
    from safetensors.torch import save as serialise

    tensors = {name: t.half().contiguous() for name, t in network.state_dict().items()}
    meta = {**meta, "holds": "classifier", "format": checkpoint.FORMAT}
    header = {
        "stanley": json.dumps(meta, sort_keys=True),
        "checksum": checkpoint.checksum(tensors, meta),
    }
    write_atomic(path, serialise(tensors, metadata=header))
