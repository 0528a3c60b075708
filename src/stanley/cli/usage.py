"""How each command is called: the words of its usage line, and examples that end its help and can
be pasted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Command -> what stands after its name.
WORDS = {
    "train": "RECIPE [FLAGS]",
    "sample": "(RUN | --pretrained NAME | --target NAME) [FLAGS]",
    "diagnose": "(RUN | --pretrained NAME | --target NAME) [FLAGS]",
    "evaluate": "RUN [FLAGS]",
    "likelihood": "RUN [FLAGS]",
    "plot": "RUN [FLAGS]",
    "compare": "RECIPE | FILE.yaml | FOLDER | RUN1 RUN2 ... [FLAGS]",
    "report": "RUN | COMPARISON [FLAGS]",
    "studio": "[FOLDER] [FLAGS]",
    "recipes": "[NAME] [FLAGS]",
    "targets": "[FLAGS]",
    "demo": "[FLAGS]",
    "inpaint": "RUN IMAGE --mask MASK [FLAGS]",
    "denoise": "RUN IMAGE --noise STD [FLAGS]",
    "interpolate": "RUN A B [FLAGS]",
    "compose": "RUN1 RUN2 ... [FLAGS]",
    "ood": "RUN FOLDER [FLAGS]",
    "pack": "RUN --out FOLDER [FLAGS]",
    "push": "FOLDER OWNER/NAME [FLAGS]",
    "pull": "OWNER/NAME --out FOLDER [FLAGS]",
    "export": "RUN --out FILE [FLAGS]",
    "features train": "cifar10|mnist --out FILE [FLAGS]",
}

#: Ends the help of stanley itself.
START = (
    "Results of a RUN are written into RUN. All other results are written into a folder named for"
    " the command and for what it was used on, such as samples/banana or inpainted/mnist. Use --out"
    " to choose another folder. A result that is already there is never lost: the same request"
    " replaces it, and another request first renames it to NAME-former.\n\nTo begin: stanley demo;"
    " stanley sample --pretrained mnist; stanley COMMAND --help"
)

#: Command -> lines to paste. Pictures, folders and runs in them are the reader's.
EXAMPLES = {
    "train": (
        "stanley train rings --out runs/rings",
        "stanley train folder --data.path pictures --data.size 32 --out runs/mine",
    ),
    "sample": (
        "stanley sample --pretrained mnist",
        "stanley sample --target banana",
        "stanley sample --target mine.py:log_p --log-density --shape 10",
    ),
    "diagnose": (
        "stanley diagnose runs/rings",
        "stanley diagnose --target banana --sampler mala",
    ),
    "evaluate": (
        "stanley evaluate runs/rings",
        "stanley evaluate runs/mine --features cifar --against train --seed 1",
    ),
    "likelihood": ("stanley likelihood runs/rings --levels 1000",),
    "plot": ("stanley plot runs/rings",),
    "compare": (
        "stanley compare rings --samplers langevin,stanley,mala --seeds 5 --steps 1000",
        "stanley compare comparisons/rings",
        "stanley compare runs/a runs/b runs/c",
    ),
    "report": ("stanley report runs/rings", "stanley report comparisons/rings"),
    "studio": ("stanley studio", "stanley studio runs --port 9000"),
    "recipes": ("stanley recipes", "stanley recipes rings > mine.yaml"),
    "targets": ("stanley targets",),
    "demo": ("stanley demo --out runs/demo",),
    "inpaint": (
        "stanley inpaint --pretrained mnist digit.png --mask right-half --resize",
        "stanley inpaint runs/mine photo.png --mask 8,8,16,16 --resize",
    ),
    "denoise": (
        "stanley denoise --pretrained mnist digit.png --noise 0.2 --resize",
        "stanley denoise runs/mine --held-out 8 --noise 0.2",
    ),
    "interpolate": ("stanley interpolate --pretrained mnist a.png b.png --resize",),
    "compose": ("stanley compose runs/a runs/b --weights 1,0.5",),
    "ood": (
        "stanley ood --pretrained mnist pictures --resize",
        "stanley ood runs/mine pictures --against held-out --out scores.csv",
    ),
    "pack": ("stanley pack runs/rings --out models/rings",),
    "push": ("stanley push models/rings you/rings --private",),
    "pull": ("stanley pull you/rings --out models/rings",),
    "export": ("stanley export runs/rings --out energy.pt2",),
    "features train": ("stanley features train mnist --data.root data --out mnist.safetensors",),
}


def help_of(command: Callable[..., Any] | str) -> dict[str, str]:
    """What cyclopts shows of a command besides its docstring and its flags."""
    name = command if isinstance(command, str) else command.__name__
    lines = EXAMPLES[name]  # in Markdown two blanks at its end keep a line
    head = "Example:" if len(lines) == 1 else "Examples:"
    return {
        "usage": f"Usage: stanley {name} {WORDS[name]}",
        "help_epilogue": "  \n".join((head, *lines)),
    }
