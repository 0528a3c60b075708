"""Flags that several commands share: their types and what --help says of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from stanley.errors import StanleyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token


class UnknownFlag(StanleyError):
    """A flag that no part of the command knows; `flag` is its name without the two hyphens."""

    def __init__(self, flag: str) -> None:
        super().__init__(f"unknown flag --{flag}")
        self.flag = flag


def whole(kind: object, tokens: Sequence[Token]) -> int:
    """The integer that is written; 3.5 is refused, not rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number; write it like 100") from None


Whole = Annotated[int, Parameter(converter=whole)]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object for machines.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, …")]
Execution = Annotated[
    Literal["auto", "eager", "compile", "graph"],
    Parameter(help="How a chain step is carried out; see docs/performance.md."),
]
Run = Annotated[Path, Parameter(help="Run directory: the --out of a stanley train.")]
Weights = Literal["average", "raw"]
WhichWeights = Annotated[Weights, Parameter(help="Averaged (EMA) or raw weights.")]
WeightsOfRun = Annotated[Weights | None, Parameter(help="Of a run: averaged (EMA) or raw weights.")]
RunOrNone = Annotated[
    Path | None,
    Parameter(allow_leading_hyphen=True, help="Run directory or packed model; or give --pretrained or --target."),
]
Pretrained = Annotated[str | None, Parameter(help="A model that comes with the library, in the place of RUN.")]
Target = Annotated[str | None, Parameter(help="A name (stanley targets), module:function or file.py:function.")]
WarmUp = Annotated[Whole, Parameter(help="Steps thrown away, in which a step size is found if none is given.")]
Scale = Annotated[
    Literal["draws", "gradients", "both"] | None, Parameter(help="Find a scale per coordinate besides the step size.")
]
Shape = Annotated[str | None, Parameter(help="Of one point of your own density: 10, or 3,32,32.")]
StartStd = Annotated[float | None, Parameter(help="Chains on a density start from N(0, s² I); 1.")]
DTypeFlag = Annotated[
    Literal["float32", "float64"] | None,
    Parameter(name="--dtype", help="Of a density; float64, but of a module that of its weights."),
]
DataRoot = Annotated[str | None, Parameter(name=("--data.root", "--data.path"), help="Where the model's data lie now.")]
Extra = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]

# Of the commands on pictures.
Out = Annotated[
    Path | None,
    Parameter(help="Folder; RUN/WHAT, or WHAT/NAME of --pretrained NAME: inpainted, denoised, interpolated."),
]
Resize = Annotated[bool, Parameter(negative="", help="Fit pictures of another size or mode to the model.")]
HeldOut = Annotated[Whole | None, Parameter(help="Take the first N held-out images of the run's data instead.")]
PerImage = Annotated[Whole | None, Parameter(help="Chains for each image, one draw of each; 4.")]
Steps = Annotated[Whole | None, Parameter(help="Chain steps; ten training calls, 10 K, unless given.")]
