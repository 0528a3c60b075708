"""Every command that writes, as small as it gets, on runs and data that are made once."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np

from .points import run

SMALL = (
    *(
        "--batch",
        "8",
        "--objective.chain-steps",
        "1",
        "--save-every",
        "2",
        "--keep",
        "2",
        "--objective.bank-size",
        "8",
        "--quiet",
    ),
    *("--network.width", "4", "--network.depth", "1", "--device", "cpu"),
)
PLANE = ("train", "rings", "--out", "new", "--steps", "5", "--data.num", "60", *SMALL)

#: Command -> what it is asked, in a folder that holds `plane` and `images` (runs), `packed`,
#: `pictures` and `data`.
REQUESTS: dict[str, tuple[str, ...]] = {
    "train": PLANE,
    "train again": ("train", "rings", "--out", "plane", "--steps", "7", "--data.num", "60", *SMALL),
    "train folder": (
        *(
            "train",
            "folder-contrastive",
            "--data.path",
            "pictures",
            "--data.size",
            "8",
            "--data.channels",
            "1",
            "--out",
            "new",
        ),
        *(
            "--data.memory-limit-mb",
            "0",
            "--steps",
            "2",
            "--network.kind",
            "mlp",
            "--sampler",
            "mala",
            *SMALL,
        ),
    ),
    "train back": (  # a rollback at every step until there are none left
        *(
            "train",
            "rings",
            "--out",
            "new",
            "--steps",
            "3",
            "--objective.gap-limit",
            "1e-9",
            "--on-divergence",
            "rollback",
        ),
        *("--max-rollbacks", "2", "--data.num", "60", *SMALL),
    ),
    "sample": ("sample", "plane", "--num", "4", "--steps", "2"),
    "sample images": (
        "sample",
        "images",
        "--num",
        "2",
        "--steps",
        "2",
        "--keep-every",
        "1",
        "--out",
        "new",
    ),
    "sample target": (
        "sample",
        "--target",
        "banana",
        "--num",
        "4",
        "--steps",
        "2",
        "--warm-up",
        "2",
    ),
    "diagnose": (
        *(
            "diagnose",
            "images",
            "--num",
            "4",
            "--steps",
            "16",
            "--warm-up",
            "2",
            "--pairs",
            "0",
            "--rays",
            "0",
        ),
        *("--copies", "0"),
    ),
    "evaluate": ("evaluate", "plane", "--num", "8", "--steps", "2"),
    "likelihood": ("likelihood", "plane", "--levels", "2", "--chains", "2", "--rows", "4"),
    "plot": ("plot", "images"),
    "report": ("report", "images"),
    "inpaint": (
        "inpaint",
        "images",
        "pictures/0.png",
        "--mask",
        "left-half",
        "--steps",
        "1",
        "--paste-back",
        "--num",
        "1",
    ),
    "denoise": (
        "denoise",
        "images",
        "pictures/0.png",
        "--noise",
        "0.5",
        "--steps",
        "1",
        "--num",
        "1",
    ),
    "interpolate": (
        "interpolate",
        "images",
        "pictures/0.png",
        "pictures/1.png",
        "--steps",
        "1",
        "--points",
        "3",
    ),
    "compose": ("compose", "images", "packed", "--steps", "1", "--num", "2", "--warm-up", "1"),
    "ood": ("ood", "images", "pictures", "--against", "held-out"),
    "pack": ("pack", "plane", "--out", "new"),
    "export": ("export", "plane", "--out", "energy.pt2"),
    "features train": (
        *("features", "train", "mnist", "--data.root", "data", "--epochs", "1", "--limit", "8"),
        *("--out", "classifier.safetensors"),
    ),
    "compare": (
        *(
            "compare",
            "rings",
            "--samplers",
            "langevin,mala",
            "--grid",
            "sampler.step_size=0.02,0.03",
        ),
        *("--steps", "4", "--seeds", "1", "--data.num", "60", "--scores", "record.loss"),
        *("--budget", "iterations", "--out", "new", *SMALL[:4], *SMALL[8:10], *SMALL[11:15]),
    ),
    "compare runs": ("compare", "plane", "beside", "--scores", "record.loss", "--out", "new"),
    "demo": ("demo", "--out", "new", "--steps", "2"),
}

#: The name of a cache of pictures tells the folder that they lie in, and when they were made.
KEYED = re.compile(r"(?<=cache/folder-)\w+")

#: Figures of a page, of which one may show how long a step took.
FIGURES = re.compile(rb'data:image/png;base64,[^"]*')
#: What tells when something was done, or by which way it was come to.
CLOCKS = re.compile(
    rb'"(seconds|peak_mib|test_accuracy_seconds)": [^,}\n]+|, \S+( to \S+)? s a run'
    rb"|(?<=,)[\d.]+(?=,-?[\d.]+$)",  # in the tables of a comparison
    re.M,
)


@functools.cache
def base() -> Path:
    """The folder that every command starts from."""
    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="kills-")).resolve() / "base"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (12, 8, 8), np.uint8)
    np.save(folder / "images.npy", rows)
    (folder / "pictures").mkdir()
    for k in range(4):
        Image.fromarray(rows[k]).save(folder / "pictures" / f"{k}.png")
    write_mnist(folder / "data/MNIST/raw", rng)
    for words in (
        ("train", "rings", "--out", "plane", "--steps", "4", "--data.num", "60", *SMALL),
        (
            "train",
            "array-contrastive",
            "--out",
            "images",
            "--steps",
            "2",
            "--data.path",
            "images.npy",
            *SMALL,
        ),
        (
            *("train", "rings", "--out", "beside", "--steps", "4", "--data.num", "60"),
            *("--seed", "1", *SMALL),
        ),
        ("evaluate", "images", "--num", "4", "--steps", "4"),
        ("pack", "images", "--out", "packed"),
        ("sample", "images", "--num", "3", "--steps", "1", "--out", "former"),
    ):
        end = run(words, folder)
        assert end.code == 0, f"{words}: {end.err}"
    for where in ("plane", "images", "packed", "pictures", "."):
        (folder / where / "notes.txt").write_text(f"mine, in {where}")
    return folder


def write_mnist(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 8)):
        rows, labels = (
            rng.integers(0, 256, (n, 28, 28), np.uint8),
            np.arange(n, dtype=np.uint8) % 10,
        )
        head = np.array([2051, n, 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + rows.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            np.array([2049, n], ">i4").tobytes() + labels.tobytes()
        )


def fresh(into: Path) -> Path:
    """A copy of the base, to be spoilt."""
    shutil.copytree(base(), into, symlinks=True)
    return into


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, without what tells the time, and events without those of a resumption. Figures of
    a page are left out: they show how long a step took where a curve would be constant."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or "__pycache__" in name or path.name == ".lock":
            continue
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            content = in_order(content)
        if path.name == "events.jsonl":
            lines = [json.loads(line) for line in content.splitlines()]
            kept = [line for line in lines if line["kind"] != "resumed"]
            content = b"".join(json.dumps(line).encode() + b"\n" for line in kept)
            if not content:
                continue
        if path.name == "index.html":
            content = FIGURES.sub(b"", content)
        found[KEYED.sub("", name)] = CLOCKS.sub(b"", content)
    return found


def in_order(content: bytes) -> bytes:
    """A safetensors file whose metadata, which have no order, are sorted."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.dumps(json.loads(content[8:end]), sort_keys=True).encode() + content[end:]


def leftovers(folder: Path) -> list[str]:
    """What has no name of its own: files and folders that a killed process was writing."""
    known = (".lock", ".origin", "__pycache__")
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*") if p.name not in known)
