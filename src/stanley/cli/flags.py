"""Flags that several commands share: their types and what --help says of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from stanley.errors import StanleyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token


class OwnFlags(NamedTuple):
    """What a command was told of the user's own code."""

    network: str | None = None
    data: str | None = None
    sampler: str | None = None
    trust: bool = False


#: A command that was told nothing.
NOTHING = OwnFlags()


class UnknownFlag(StanleyError):
    """A flag that no part of the command knows; `flag` is its name without the two hyphens."""

    def __init__(self, flag: str) -> None:
        super().__init__(f"unknown flag --{flag}")
        self.flag = flag


def whole(kind: object, tokens: Sequence[Token]) -> int:
    """The integer that is written; 3.5 is refused, not rounded."""
    from stanley.cli.values import whole_number

    value = whole_number(tokens[0].value)
    if value is None:
        raise ValueError(f"{tokens[0].value!r} is not a whole number; write it like 100")
    if abs(value) >= 2**63:
        raise ValueError(f"{tokens[0].value} is too large; a whole number lies within ±2^63")
    return value


def real(kind: object, tokens: Sequence[Token]) -> float:
    """The number that is written, by the grammar of all flags and files."""
    from stanley.cli.values import number

    value = number(tokens[0].value)
    if value is None or not math.isfinite(value):
        raise ValueError(f"{tokens[0].value!r} is not a number; write it like 0.5 or 1e-3")
    return float(value)


Whole = Annotated[int, Parameter(converter=whole)]
Real = Annotated[float, Parameter(converter=real)]
Json = Annotated[
    bool,
    Parameter(
        name="--json",
        negative="",
        show_default=False,
        help="Print one JSON object instead of text.",
    ),
]
Device = Annotated[
    str,
    Parameter(
        help="Device to compute on: cpu, cuda, cuda:1, … With auto a GPU where there is one."
    ),
]
Seed = Annotated[Whole, Parameter(help="Seed of all random numbers.")]
Execution = Annotated[
    Literal["auto", "eager", "compile", "graph"],
    Parameter(help="How a chain step is carried out. See docs/performance.md."),
]
Run = Annotated[Path, Parameter(help="Run directory: the --out of stanley train.")]
Weights = Literal["average", "raw"]
WhichWeights = Annotated[Weights, Parameter(help="Use the averaged (EMA) or the raw weights.")]
WeightsOfRun = Annotated[
    Weights | None,
    Parameter(help="Use the averaged (EMA) or the raw weights of a run. [default: average]"),
]
RunOrNone = Annotated[
    Path | None,
    Parameter(
        allow_leading_hyphen=True,
        help="Run directory or packed model. Give --pretrained or --target in its place.",
    ),
]
Pretrained = Annotated[
    str | None,
    Parameter(
        help="Use a model that comes with the library in place of RUN: mnist or cifar10, or "
        "mnist-contrastive or cifar10-contrastive, which were trained by chains."
    ),
]
Target = Annotated[
    str | None,
    Parameter(
        help=(
            "Density to use in place of RUN: a name that stanley targets lists, module:function, or"
            " file.py:function."
        )
    ),
]
LogDensity = Annotated[
    bool | None,
    Parameter(
        negative="",
        show_default=False,
        help="The function of --target is a log-density log p, not a potential U = -log p.",
    ),
]
WarmUp = Annotated[
    Whole,
    Parameter(
        help="Steps before the chains are used. A step size that is not given is found in them."
    ),
]
Scale = Annotated[
    Literal["draws", "gradients", "both", "dense"] | None,
    Parameter(
        help=(
            "Also find a scale for each coordinate in the warm-up, or of all together where that"
            " pays: dense. [default: dense for a density on which no sampler is named, else none]"
        )
    ),
]
Shape = Annotated[
    str | None, Parameter(help="Shape of one point of your own density, such as 10 or 3,32,32.")
]
AllRows = Annotated[
    bool,
    Parameter(
        name="--all",
        negative="",
        show_default=False,
        help="Show all coordinates in the table, not those with the largest R̂.",
    ),
]
StartStd = Annotated[
    Real | None,
    Parameter(
        help=(
            "Standard deviation of the normal law that chains on a density start from. [default: 1]"
        )
    ),
]
DTypeFlag = Annotated[
    Literal["float32", "float64"] | None,
    Parameter(
        name="--dtype",
        help="Precision of a density. [default: float64, or that of a module's weights]",
    ),
]
DataRoot = Annotated[
    str | None,
    Parameter(
        name=("--data.root", "--data.path"),
        help="Folder or file in which the model's data are now. [default: where they were]",
    ),
]
OwnNetworkName = Annotated[
    str | None,
    Parameter(
        name="--network",
        help="Network of your own that the run was trained with: module:Name or file.py:Name.",
    ),
]
OwnDataName = Annotated[
    str | None,
    Parameter(
        name="--data",
        help="Your own function that returns the run's data: module:name or file.py:name.",
    ),
]
OwnSamplerName = Annotated[
    str | None,
    Parameter(
        name="--sampler",
        help="Sampler of your own that the run was trained with: module:Name or file.py:Name.",
    ),
]
Trust = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Import the code that the run names, without naming it. It can do anything.",
    ),
]
Track = Annotated[
    str | None,
    Parameter(
        help="Also tell tensorboard or wandb, or both with a comma: records, configuration, "
        "scores, samples at checkpoints. [default: none]"
    ),
]
Extra = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]

# Of the commands on pictures.
Out = Annotated[
    Path | None,
    Parameter(
        help=(
            "Folder to write to. [default: inside RUN, or inpainted/NAME, denoised/NAME,"
            " interpolated/NAME]"
        )
    ),
]
Resize = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Convert pictures of another size or colour mode to those of the model.",
    ),
]
PasteBack = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Put each restored picture back into its file's picture, which keeps its size and all "
        "other pixels.",
    ),
]
HeldOut = Annotated[
    Whole | None,
    Parameter(help="Use the first N held-out images of the run's data in place of IMAGE."),
]
PerImage = Annotated[
    Whole | None,
    Parameter(help="Chains for each image, each of which gives one draw. [default: 4]"),
]
Steps = Annotated[
    Whole | None,
    Parameter(help="Chain steps. [default: ten times the chain steps of a training iteration]"),
]
