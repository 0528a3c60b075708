"""Trains the small classifiers whose features `classifier.py` serves."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from stanley.batches import in_chunks
from stanley.data import CIFAR10, MNIST, centre
from stanley.device import pick_device
from stanley.errors import StanleyError, require
from stanley.features.classifier import (
    Classifier,
    ClassifierFeatures,
    folded,
    load_classifier,
    save_classifier,
)
from stanley.overwriting import difference, keep_former
from stanley.runs import checkpoint
from stanley.streams import global_stream, stream

TEST_ROWS = 500  # images at a time through the network when it is judged


@dataclass(frozen=True)
class ClassifierRecipe:
    """SGD with Nesterov momentum 0.9 and a one-cycle rate: linear up over the first fifth, linear
    down to zero.

    shift    images are moved by up to so many pixels either way, the border filled by reflection
    crop     the first half of the epochs sees windows of so many pixels a side only, which costs
             less; None for all
    lr       the highest rate; weight decay acts on all weights
    """

    name: str
    widths: tuple[int, ...]
    epochs: int
    shift: int
    flip: bool
    crop: int | None = None
    batch: int = 128
    lr: float = 0.15
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1

    def rate(self, progress: float) -> float:
        """The learning rate after a share 0..1 of all steps."""
        return self.lr * min(progress / 0.2, (1 - progress) / 0.8)


RECIPES = {
    "cifar10": ClassifierRecipe(
        "cifar", widths=(16, 32, 64, 128), epochs=7, shift=3, flip=True, crop=24
    ),
    "mnist": ClassifierRecipe("mnist", widths=(8, 16, 32, 64), epochs=4, shift=2, flip=False),
}


def train_classifier(
    recipe: ClassifierRecipe,
    data: CIFAR10 | MNIST,
    out: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> ClassifierFeatures:
    """Train, fold, round to float16, write, read back, and measure what was written on all test
    images.

    On one device with one number of threads the same seed gives the same weights. Another
    classifier that is in the file is kept as NAME-former.safetensors.
    """
    place = pick_device(device)
    images, (labels, test_labels) = data.load(), data.labels()
    channels, size, _ = images.event_shape
    require(
        size >= 2 ** (len(recipe.widths) - 1),
        f"images have {size} px, too few to halve; use data.size 28 or 32",
    )
    with global_stream(seed, "weights of a classifier"):
        network = Classifier(channels, recipe.widths, norm=True)
    network = network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    generator = stream(seed, "batches of a classifier")
    steps_an_epoch = math.ceil(len(labels) / recipe.batch)
    begin = time.process_time()
    for epoch in range(recipe.epochs):
        losses, side = [], recipe.crop if recipe.crop and epoch < recipe.epochs // 2 else size
        for i, rows in enumerate(epoch_order(len(labels), recipe.batch, generator)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(
                    (epoch * steps_an_epoch + i + 0.5) / (recipe.epochs * steps_an_epoch)
                )
            x = centre(windows(images.train[rows], side, recipe, generator)).to(
                place, memory_format=torch.channels_last
            )
            loss = cross_entropy(
                network(x), labels[rows].to(place), label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        require(
            math.isfinite(mean),
            f"the loss is {mean} in epoch {epoch + 1}; use a smaller --lr than {recipe.lr}",
        )
        tell(
            f"epoch {epoch + 1}/{recipe.epochs}  loss {mean:.3f}  {time.process_time() - begin:.0f}"
            " s of CPU time"
        )
    plain = folded(network.cpu().to(memory_format=torch.contiguous_format), channels, recipe.widths)  # type: ignore[call-overload]
    meta: dict[str, Any] = {
        "name": recipe.name,
        "data": {"kind": data.kind, "size": data.size, "limit": data.limit},
        "channels": channels,
        "size": size,
        "widths": list(recipe.widths),
        "recipe": {
            key: value for key, value in vars(recipe).items() if key not in ("name", "widths")
        },
        "seed": seed,
        "n_train": len(labels),
        "torch": torch.__version__,
        "device": str(place),
    }
    plain.load_state_dict({key: t.half().float() for key, t in plain.state_dict().items()})
    right = accuracy(plain.to(place), images.test, test_labels)
    keep_another(out, meta)
    save_classifier(plain.cpu(), {**meta, "test_accuracy": right, "n_test": len(test_labels)}, out)
    return load_classifier(out, device=device)


def keep_another(out: Path, meta: dict[str, Any]) -> None:
    """Another classifier, or any other file, that is there already gets another name."""
    asked = {name: meta[name] for name in ("name", "recipe", "data", "seed")}
    asked = json.loads(json.dumps(asked))
    try:
        there = checkpoint.load(out).meta if out.exists() else {}
    except StanleyError:
        there = {}
    before = {name: there.get(name) for name in asked} if there else None
    if before != asked:
        keep_former([out], difference(before, asked))


def epoch_order(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All rows once in a new order, in batches of which the last may be smaller."""
    yield from torch.randperm(n, generator=generator).split(batch)


def windows(
    images: Tensor, side: int, recipe: ClassifierRecipe, generator: torch.Generator
) -> Tensor:
    """Of each image, mirrored with probability ½ where the recipe says so and widened by `shift`
    reflected pixels, a window of side × side pixels anywhere."""
    n, channels, height, _ = images.shape
    if recipe.flip:
        mirrored = torch.rand((n, 1, 1, 1), generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
    s = recipe.shift
    wide = pad(images.float(), (s, s, s, s), mode="reflect").to(images.dtype)
    down, right = torch.randint(0, height + 2 * s - side + 1, (2, n), generator=generator)
    rows = (down[:, None] + torch.arange(side))[:, None, :, None]
    columns = (right[:, None] + torch.arange(side))[:, None, None, :]
    return wide[
        torch.arange(n)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        rows,
        columns,
    ]


@torch.no_grad()
def accuracy(network: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of uint8 images (N, C, H, W) whose largest logit is that of the label."""
    place = network.head.weight.device
    guesses = in_chunks(
        lambda part: network(centre(part).to(place)).argmax(1).cpu(), images, TEST_ROWS
    )
    return float((guesses == labels).float().mean())
