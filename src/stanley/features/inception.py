"""The Inception network of FID, in plain torch, with the published weights.

It is the graph of 2015 that Heusel et al. (2017) used, not torchvision's inception_v3: 1008
classes, average pools that leave the padding out, a max pool in the last block, and the bilinear
resize of TensorFlow 1. Images are taken to bytes first and are scaled as (v - 128)/128, as in
torch-fidelity. pytorch-fid loads the same file, but resizes with half pixels and scales by 2v/255 -
1: its numbers are close and not the same. Whatever is computed with other weights has another name,
and is no FID.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

from stanley.batches import in_chunks
from stanley.data import to_bytes
from stanley.data.download import Remote, cache_dir, expand, fetch
from stanley.errors import StanleyError, require

# of both files below, which are one
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILES = (
    Remote(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
        "weights-inception-2015-12-05-6726825d.pth",
        SHA256,
        "inception",
    ),
    Remote(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
        "pt_inception-2015-12-05-6726825d.pth",
        SHA256,
        "inception",
    ),
)
INSTEAD = "--features cifar and --features mnist need no download, and are not called FID"
SIDE = 299
CHUNK = 32  # images at a time through the network


class Conv(nn.Module):
    """Convolution without bias, batch normalisation with its recorded moments, ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        pad: bool = True,
    ) -> None:
        super().__init__()
        h, w = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (h // 2, w // 2) if pad and stride == 1 else 0
        self.conv = nn.Conv2d(c_in, c_out, (h, w), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))


#: A convolution of a branch: its name in the published file, channels, kernel, stride; several in a
#: list stand side by side on one input.
Step = tuple[str, int, "int | tuple[int, int]", int]
Branch = list["Step | list[Step]"]


class Mixed(nn.Module):
    """Branches side by side, then the pool, all joined along the channels.

    pool   'average' or 'max' (3 × 3, stride 1, followed by the convolution branch_pool), or
           'stride' (max, 3 × 3, stride 2, without one)
    """

    def __init__(self, c_in: int, branches: list[Branch], pool: str, pool_out: int = 0) -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        for branch in branches:
            c = c_in
            for step in branch:
                steps = step if isinstance(step, list) else [step]
                for name, c_out, kernel, stride in steps:
                    self.add_module(name, Conv(c, c_out, kernel, stride))
                c = sum(c_out for _, c_out, _, _ in steps)
        if pool_out:
            self.branch_pool = Conv(c_in, pool_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(self.along(branch, x) for branch in self.branches), self.pooled(x)], 1)

    def along(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            steps = step if isinstance(step, list) else [step]
            x = torch.cat([self.get_submodule(name)(x) for name, *_ in steps], 1)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        if self.pool == "stride":
            return max_pool2d(x, 3, 2)
        if self.pool == "max":
            return self.branch_pool(max_pool2d(x, 3, 1, 1))
        return self.branch_pool(avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def chain(name: str, *convs: tuple[int, int | tuple[int, int]], last_stride: int = 1) -> Branch:
    """NAME_1, NAME_2, … one after the other; NAME alone where there is one."""
    names = [name] if len(convs) == 1 else [f"{name}_{i}" for i in range(1, len(convs) + 1)]
    strides = [1] * (len(convs) - 1) + [last_stride]
    return [
        (n, c, kernel, stride) for n, (c, kernel), stride in zip(names, convs, strides, strict=True)
    ]


def fork(name: str) -> list[Step]:
    """1 × 3 beside 3 × 1."""
    return [(f"{name}a", 384, (1, 3), 1), (f"{name}b", 384, (3, 1), 1)]


def mixed_35(c_in: int, pool_out: int) -> Mixed:
    """On 35 × 35: 64 + 64 + 96 + pool_out channels."""
    branches = [
        chain("branch1x1", (64, 1)),
        chain("branch5x5", (48, 1), (64, 5)),
        chain("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    ]
    return Mixed(c_in, branches, "average", pool_out)


def mixed_17(c: int) -> Mixed:
    """On 17 × 17, 768 channels in and out, c inside."""
    across, down = (1, 7), (7, 1)
    branches = [
        chain("branch1x1", (192, 1)),
        chain("branch7x7", (c, 1), (c, across), (192, down)),
        chain("branch7x7dbl", (c, 1), (c, down), (c, across), (c, down), (192, across)),
    ]
    return Mixed(768, branches, "average", 192)


def mixed_8(c_in: int, pool: str) -> Mixed:
    """On 8 × 8: 2048 channels out."""
    branches: list[Branch] = [
        chain("branch1x1", (320, 1)),
        [("branch3x3_1", 384, 1, 1), fork("branch3x3_2")],
        [*chain("branch3x3dbl", (448, 1), (384, 3)), fork("branch3x3dbl_3")],
    ]
    return Mixed(c_in, branches, pool, 192)


class Inception(nn.Module):
    """(B, 3, 299, 299) scaled to [-1, 1) -> features of the last pool, (B, 2048).
    Names as in the published file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, pad=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = (
            mixed_35(192, 32),
            mixed_35(256, 64),
            mixed_35(288, 64),
        )
        to_17 = [
            chain("branch3x3", (384, 3), last_stride=2),
            chain("branch3x3dbl", (64, 1), (96, 3), (96, 3), last_stride=2),
        ]
        self.Mixed_6a = Mixed(288, to_17, "stride")
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            mixed_17(c) for c in (128, 160, 160, 192)
        )
        to_8 = [
            chain("branch3x3", (192, 1), (320, 3), last_stride=2),
            chain("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), last_stride=2),
        ]
        self.Mixed_7a = Mixed(768, to_8, "stride")
        self.Mixed_7b, self.Mixed_7c = mixed_8(1280, "average"), mixed_8(2048, "max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (B, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, 2)))  # (B, 192, 71, 71)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(max_pool2d(x, 3, 2))))  # (B, 288, 35, 35)
        # (B, 768, 17, 17)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (B, 2048, 8, 8)
        return x.mean((2, 3))


def resize(x: Tensor, side: int = SIDE) -> Tensor:
    """Bilinear, (B, C, H, W) -> (B, C, side, side), where row i of the result lies at i·H/side of
    the input.

    TensorFlow 1's: corners are not aligned, half pixels are ignored, and nothing is averaged when
    it shrinks.
    """
    for axis in (2, 3):
        size = x.shape[axis]
        at = torch.arange(side, dtype=torch.float32, device=x.device) * (size / side)
        low = at.long()
        shape = [1, 1, 1, 1]
        shape[axis] = side
        share = (at - low).to(x).view(shape)
        first, second = (
            x.index_select(axis, low),
            x.index_select(axis, (low + 1).clamp(max=size - 1)),
        )
        x = first + (second - first) * share
    return x


@dataclass(frozen=True, eq=False)
class InceptionFeatures:
    """Images (B, C, H, W) in [-1, 1], C = 1 or 3 -> (B, 2048). Grey images are shown in three equal
    channels.

    name   'inception' with the published weights, whose numbers are called FID and KID; otherwise
           'inception-' and the first eight digits of the file's SHA-256
    """

    network: Inception
    name: str

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        require(
            x.ndim == 4 and x.shape[1] in (1, 3),
            f"points have shape {tuple(x.shape[1:])}, Inception takes images (1 or 3, H, W); use"
            " other --features",
        )
        place = self.network.fc.weight

        def of_images(part: Tensor) -> Tensor:
            image = to_bytes(part.to(place.device)).to(place.dtype).expand(-1, 3, -1, -1)
            return self.network((resize(image) - 128) / 128).to(x.device)

        return in_chunks(of_images, x, CHUNK)

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """(B, 1008), softmax without the bias of the last layer,
        as the Inception Score has always been computed.
        """
        features = self(x)
        return (features @ self.network.fc.weight.to(features).T).softmax(1)


def inception_features(
    path: str | None = None, *, download: bool = False, device: torch.device | str = "cpu"
) -> InceptionFeatures:
    """The network with the weights in `path` (.pth or .safetensors), else those in the cache
    folder.

    download   fetch them into the cache folder first if they are not there, 91 MiB, checked by
               SHA-256
    """
    file = published(download) if path is None else expand(path, "the file of Inception weights")
    require(
        file.is_file(),
        f"{file} is no file; give the published {FILES[0].name}, or leave it out: {INSTEAD}",
    )
    with torch.device("meta"):  # no weights of its own
        network = Inception()
    network.load_state_dict(checked(read_weights(file), network.state_dict(), file), assign=True)
    digest = sha256_of(file)
    name = "inception" if digest == SHA256 else f"inception-{digest[:8]}"
    return InceptionFeatures(network.eval().requires_grad_(False).to(device), name)


def published(download: bool) -> Path:
    """The published file in the cache folder, under either of its names."""
    places = [cache_dir() / remote.folder / remote.name for remote in FILES]
    found = next((place for place in places if place.is_file()), None)
    if found is None and download:
        fetch(FILES[:1], cache_dir())
        found = places[0]
    require(
        found is not None,
        f"the Inception weights are not here: put {FILES[0].name} (or {FILES[1].name}) into"
        f" {places[0].parent}, name it as inception:PATH, or let inception:download fetch it;"
        f" {INSTEAD}",
    )
    assert found is not None
    return found


def read_weights(file: Path) -> dict[str, Tensor]:
    """Named tensors; a pickle is read as weights only, so that nothing in it is executed."""
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        reason = " ".join(str(error).split())[:160]
        raise StanleyError(
            f"{file} cannot be read as weights ({reason}); use {FILES[0].name}; {INSTEAD}"
        ) from error
    named = isinstance(weights, dict) and all(
        isinstance(value, Tensor) for value in weights.values()
    )
    require(
        named,
        f"{file} holds a {type(weights).__name__}, not named tensors; use {FILES[0].name};"
        f" {INSTEAD}",
    )
    return dict(weights)


def checked(weights: dict[str, Tensor], own: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The weights if their names and shapes are the network's; counters of batches,
    which nothing reads, are free.
    """
    counter = "num_batches_tracked"
    wanted = {name for name in own if not name.endswith(counter)}
    given = {name for name in weights if not name.endswith(counter)}
    missing, unknown = sorted(wanted - given), sorted(given - wanted)
    shaped = sorted(name for name in wanted & given if weights[name].shape != own[name].shape)
    told = [
        f"{what} {names[0]!r}{more(names)}"
        for what, names in (("lacks", missing), ("has", unknown))
        if names
    ]
    told += [
        f"has {n!r} of shape {tuple(weights[n].shape)} for {tuple(own[n].shape)}"
        for n in shaped[:1]
    ]
    require(
        not told,
        f"{file} is not the Inception network of FID: it {', '.join(told)}; use {FILES[0].name}"
        f" (torchvision's inception_v3 is another network); {INSTEAD}",
    )
    return {
        name: weights[name].float() if name in wanted else torch.zeros((), dtype=torch.long)
        for name in own
    }


def more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def sha256_of(file: Path) -> str:
    import pooch

    return pooch.file_hash(str(file), alg="sha256")
