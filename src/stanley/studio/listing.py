"""What the folder holds: its runs and comparisons, and how each of them is.

A list is asked for every few seconds, so of a run only the ends of its files are read, and only
where they changed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from stanley.comparing.task import RECORD, ROW
from stanley.config import differences, to_dict
from stanley.errors import StanleyError, in_one_line
from stanley.files import is_locked
from stanley.reading import read_json
from stanley.runs.checkpoint import steps_of
from stanley.runs.directory import WENT_WRONG, RunDirectory, tail_of
from stanley.training.former import of_a_run
from stanley.training.recipes import RECIPES

DEEPEST = 8  # folders below the one that is shown
MOST = 5_000  # folders that are looked into
RECENT = 50  # records whose seconds say how long a step takes
ALIKE = 8  # fields in which a run may differ from a recipe and still be told by its name
#: What reading a file raises that holds something else than a run or a comparison.
DAMAGED = (LookupError, TypeError, ValueError, AttributeError, OSError, RecursionError)
#: Fields that do not make it another recipe.
OF_A_RUN = ("steps", "seed", "save_every", "keep", "data.root", "data.path", "data.cache")


@dataclass
class Listing:
    """The folder as it was last seen, and what was read of each run then."""

    folder: Path
    known: dict[Path, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def entries(self) -> tuple[list[dict[str, Any]], bool]:
        """Runs and comparisons, the newest first, and whether the folder was seen whole."""
        with self.lock:
            return self.all_of_it()

    def entry(self, path: Path) -> dict[str, Any]:
        """A run of the folder."""
        with self.lock:
            return self.one(path, "run")

    def runs_of(self, path: Path) -> list[dict[str, Any]]:
        """The runs of a comparison so far: those at work first, then the newest."""
        with self.lock:
            found = [
                self.one(at, "run") for at, kind in islice(walk(path, 1), MOST) if kind == "run"
            ]
        return sorted(found, key=lambda e: (e["status"] != "running", -e["changed"]))

    def all_of_it(self) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        seen: set[Path] = set()
        whole = True
        for looked, (path, kind) in enumerate(walk(self.folder)):
            if looked == MOST:
                whole = False
                break
            if kind is not None:
                seen.add(path)
                found.append(self.one(path, kind))
        self.known = {path: value for path, value in self.known.items() if path in seen}
        inside = [e["name"] + "/" for e in found if e["kind"] == "comparison"]
        shown = []
        for entry in found:
            owner = next((name for name in inside if entry["name"].startswith(name)), None)
            if owner is None:
                shown.append(entry)
            elif entry["status"] == "running":  # a comparison is at work where one of its runs is
                comparison = next(e for e in found if e["name"] + "/" == owner)
                comparison["status"] = "running"
        return sorted(shown, key=lambda e: -e["changed"]), whole

    def one(self, path: Path, kind: str) -> dict[str, Any]:
        """One of them, from its files where they changed since it was last read."""
        stamp = stamp_of(path, kind)
        before = self.known.get(path)
        if before is not None and before[0] == stamp:
            entry = dict(before[1])
        else:
            name = path.relative_to(self.folder).as_posix()
            entry = {"name": name, "kind": kind, "changed": newest(stamp)}
            try:
                entry |= run_entry(path) if kind == "run" else comparison_entry(path)
            except DAMAGED as error:
                entry |= {"status": "unreadable", "error": in_words(error)}
            self.known[path] = (stamp, dict(entry))
        if kind == "run" and entry["status"] == "interrupted" and is_locked(path / ".lock"):
            entry["status"] = "running"
        # far below what the stamp is of; a record that is finished has them all
        if kind == "comparison" and entry["status"] == "interrupted":
            entry["done"] = rows_in(path)
        return entry


def in_words(error: Exception) -> str:
    return str(error) if isinstance(error, StanleyError) else in_one_line(error)


def walk(folder: Path, depth: int = 0) -> Iterator[tuple[Path, str | None]]:
    """Every folder with what it is; links are not followed, nor folders whose name is hidden."""
    try:
        with os.scandir(folder) as there:
            entries = sorted(there, key=lambda entry: entry.name)
        names = {entry.name for entry in entries}
        folders = [e for e in entries if e.is_dir(follow_symlinks=False) and not skipped(e.name)]
    except OSError:
        return
    if depth:
        kind = kind_of_folder(names)
        yield folder, kind
        if kind == "run":
            return
    if depth < DEEPEST:
        for entry in folders:
            yield from walk(Path(entry.path), depth + 1)


def kind_of_folder(names: set[str]) -> str | None:
    """What a folder with files of these names is, `run`, `comparison`, or neither."""
    return "run" if "config.json" in names else "comparison" if RECORD in names else None


def skipped(name: str) -> bool:
    """Folders in which nobody trains, and which hold thousands of others."""
    return name[0] == "." or name in ("node_modules", "__pycache__", "site-packages")


def stamp_of(path: Path, kind: str) -> tuple[tuple[int, int] | None, ...]:
    """When the files that an entry is read from were last written, and how long they are."""
    names = ("config.json", "records.jsonl", "events.jsonl", "scores.json", "checkpoints")
    return tuple(stamp(path / name) for name in (names if kind == "run" else (RECORD, "runs")))


def stamp(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


def newest(stamps: tuple[tuple[int, int] | None, ...]) -> float:
    return max((one[0] for one in stamps if one is not None), default=0) / 1e9


def run_entry(path: Path) -> dict[str, Any]:
    """What a row says of a run, from its configuration and the ends of its records."""
    run = RunDirectory(path)
    config = of_a_run(run.read_config())
    records = tail_of(run.records_file)
    last: dict[str, Any] = records[-1] if records else {}
    step, steps = int(last.get("step", 0)), int(config["steps"])
    seconds = [r["seconds"] for r in records[-RECENT:] if isinstance(r.get("seconds"), float)]
    each = sum(seconds) / len(seconds) if seconds else None
    wrong = [event for event in run.events() if event["kind"] in (*WENT_WRONG, "resumed")]
    diverged = bool(wrong) and wrong[-1]["kind"] == "diverged"
    kept = steps_of(run.checkpoints)
    status = "diverged" if diverged else "finished" if step >= steps else "interrupted"
    return {
        "status": status,
        "recipe": recipe_in_words(config),
        "data": config["data"]["kind"],
        "objective": config["objective"]["kind"],
        "sampler": sampler_in_words(config["sampler"]),
        "step": step,
        "steps": steps,
        "left": None if each is None else each * max(0, steps - step),
        "gap": last.get("gap"),
        "loss": last.get("loss"),
        "scores": scores_in_words(run, step),
        "checkpoint": kept[-1] if kept else None,
        "checkpoints": kept,
        "why": str(wrong[-1].get("reason", "")) if diverged else "",
    }


def comparison_entry(path: Path) -> dict[str, Any]:
    """What a row says of a comparison."""
    record = read_json(path / RECORD, dict[str, Any], "run stanley compare again")
    asked = record["asked"]
    arms = list(record.get("arms") or asked.get("arms") or ())
    scores = list(asked.get("scores") or ())
    best = ""
    if scores and not record.get("unfinished"):
        means = {a: f["mean"] for a, f in record["scores"][scores[0]].items()}
        known = [arm for arm, mean in means.items() if mean is not None]
        if known:
            from stanley.comparing.tables import named, number, ordered

            first = ordered(record, scores[0])[0]
            best = f"best {short(scores[0])} {number(means[first])}: {named(record, first)}"
    return {
        "status": "interrupted" if record.get("unfinished") else "finished",
        "recipe": str(asked.get("recipe") or asked.get("target") or "runs"),
        "arms": [str(arm) for arm in arms],
        "scores": [best] if best else [],
        "done": rows_in(path),
        "planned": record.get("planned"),
        "at_most": bool(asked.get("search")),
    }


def rows_in(path: Path) -> int:
    """How many runs of a comparison have ended."""
    return sum(1 for _ in path.glob(f"runs/*/*/*/{ROW}"))


def short(score: str) -> str:
    """A score as it is written: KL, MMD², FD (pixels-8x8)."""
    kind, _, features = score.partition("_")
    if kind in ("fd", "fid") and features:
        return f"{kind.upper()} ({features})"
    return {"kl": "KL", "tv": "TV", "bias2": "b²", "mmd2": "MMD²"}.get(score, score)


def recipe_in_words(config: dict[str, Any]) -> str:
    """The recipe that a configuration is, or is nearest to, with how many fields differ."""
    alike = {}
    for name, recipe in RECIPES.items():
        if recipe.data.kind == config["data"]["kind"]:
            fields = differences(to_dict(recipe), config)
            alike[name] = sum(field not in OF_A_RUN for field in fields)
    if not alike or min(alike.values()) > ALIKE:
        return config["data"]["kind"]
    name = min(alike, key=lambda name: alike[name])
    changed = alike[name]
    return name if changed == 0 else f"{name}, {changed} field{'s' * (changed > 1)} changed"


def sampler_in_words(sampler: dict[str, Any]) -> str:
    """`adjusted stanley` of a sampler in another."""
    names = []
    part: Any = sampler
    while isinstance(part, dict):
        names.append(str(part.get("kind")))
        part = part.get("proposal", part.get("sampler"))
    return " ".join(names)


def scores_in_words(run: RunDirectory, step: int) -> list[str]:
    """What the last evaluation found: the exact KL, or Fréchet distances of fresh chains; without
    one, what was seen where the training ended.
    """
    if not run.scores_file.is_file():
        seen = [e for e in run.events() if e["kind"] == "judged" and e.get("step") == step]
        return [str(event.get("reason", "")) for event in seen[-1:]]
    scores = read_json(run.scores_file, dict[str, Any], "run stanley evaluate again")
    if isinstance(scores.get("kl"), float):
        return [f"KL {scores['kl']:.3g} nats"]
    fresh = scores.get("fresh") or {}
    return [
        f"{short(name)} {part['value']:.3g}"
        for name, part in fresh.items()
        if name.partition("_")[0] in ("fd", "fid", "mmd2") and isinstance(part.get("value"), float)
    ][:2]
