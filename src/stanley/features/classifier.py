"""A small residual classifier whose penultimate layer is a feature map for comparing images.

It is trained by `stanley features train`; two come with the package, in `features/weights/`.
Numbers in these features can only be compared with each other. Not true: that they are FID. Not
true: that all data sets are treated alike: the features describe best the data set on which the
classifier was trained.
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
    """A 3×3 convolution with batch normalisation, φ(norm(W * x)), where φ = SiLU.

    If `norm` is False, the normalisation is folded into W and a bias.
    """

    def __init__(self, fan_in: int, fan_out: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, fan_out, 3, 1, 1, bias=not norm)
        self.norm = nn.BatchNorm2d(fan_out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return silu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """A residual block, x + φ(W₂ * φ(W₁ * x))."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first, self.second = Layer(width, width, norm), Layer(width, width, norm)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Classifier(nn.Module):
    """A classifier of ten classes, (B, C, H, W) -> logits (B, 10).

    It is a layer, then for each further width a 2×2 max pool, a layer and a residual block, then
    the mean over pixels and a linear layer. For widths (16, 32, 64, 128) and 32×32×3 pixels it has
    468,000 weights, 13M multiply-adds and k = 128 features.
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
    """A classifier without normalisation, whose weights are not initialised.

    It draws no random numbers.
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
    """The features of a classifier: images (B, C, H, W) in [-1, 1] -> (B, k).

    They are the means over pixels of the last feature maps. Images of another size are resized by
    bilinear interpolation (antialiased if they shrink); another number of channels raises
    StanleyError. `meta` holds the data, recipe, number of images and test accuracy of the training.
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
        """The probabilities p(class | x) of the classifier: (B, C, H, W) -> (B, 10)."""
        return softmax(self.network(self.fitted(x)), 1)

    def fitted(self, x: Tensor) -> Tensor:
        """The images at the classifier's size, in its precision and on its device."""
        channels, size, _ = self.event_shape
        require(
            x.ndim == 4,
            f"points have shape {tuple(x.shape)}, but {self.name} features need images"
            " (B, C, H, W); use features pixels",
        )
        require(
            x.shape[1] == channels,
            f"images are {x.shape[1]}-channel, but {self.name} features need {channels}-channel"
            " images; use cifar for colour and mnist for grey images",
        )
        x = x.to(self.network.head.weight)
        if tuple(x.shape[2:]) == (size, size):
            return x
        return interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)


def classifier_features(name: ClassifierName, *, device: str = "auto") -> ClassifierFeatures:
    """The features that come with the package.

    'cifar' has k = 128 and is for colour images of 32×32 pixels, 'mnist' has k = 64 and is for grey
    images of 28×28.
    """
    known = [path.stem for path in WEIGHTS.glob("*.safetensors")]
    require(name in known, f"unknown features {name!r}: {did_you_mean(str(name), known)}")
    return load_classifier(WEIGHTS / f"{name}.safetensors", device=device, shipped=True)


def load_classifier(
    path: Path, *, device: str = "auto", shipped: bool = False
) -> ClassifierFeatures:
    """The features of a file that `stanley features train` wrote.

    Their name ends in a checksum of the weights, unless the file comes with the package.
    """
    saved = checkpoint.load(path)
    require(
        saved.meta.get("holds") == "classifier",
        f"{path} holds {saved.meta.get('holds', 'a training run')!r}, not a classifier; "
        "train one with stanley features train",
    )
    meta = saved.meta
    try:
        network = unfilled(meta["channels"], tuple(meta["widths"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StanleyError(
            f"{path} describes no classifier that can be built ({error!r}); train one with stanley"
            " features train"
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
    """Write the folded weights in float16, with `meta`, as a safetensors file."""
    from safetensors.torch import save as serialise

    tensors = {name: t.half().contiguous() for name, t in network.state_dict().items()}
    meta = {**meta, "holds": "classifier", "format": checkpoint.FORMAT}
    header = {
        "stanley": json.dumps(meta, sort_keys=True),
        "checksum": checkpoint.checksum(tensors, meta),
    }
    write_atomic(path, serialise(tensors, metadata=header))
