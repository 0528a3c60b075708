"""Trainings that were started in the page: each is `python -m stanley train …` in a process of its
own, so that nothing that it does can harm the page, nor the page it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stanley.config import OWN, flatten, to_dict
from stanley.errors import did_you_mean, require
from stanley.files import is_locked
from stanley.runs.directory import RunDirectory
from stanley.runs.origin import PATHS, is_signed, paths_of
from stanley.studio.elsewhere import interrupt, written
from stanley.training.config import TrainConfig
from stanley.training.recipes import RECIPES
from stanley.training.resolve import resolve

MOST = 4  # trainings at the same time
LINES = 200  # of what a training said, that are kept
LONGEST = 2_000  # characters of a line
PLACES = tuple(f"--data.{name}=" for name in PATHS)
KEPT = 20  # checkpoints of a training, so that the page can show how it went
LEAVING = 120.0  # seconds that trainings have to save and end with the studio

#: Reads ("--name=value", …) as the command line does.
Reader = Callable[[Sequence[str]], dict[str, Any]]


@dataclass
class Training:
    """A process that trains into a run directory."""

    words: list[str]  # after `stanley`
    process: subprocess.Popen[str]
    said: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    stopping: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def killed(self) -> bool:
        """Whether a signal ended it that it does not answer."""
        code = self.process.poll()
        return code is not None and code < 0

    @property
    def error(self) -> str | None:
        """The line with which it ended, where it did not end well."""
        code = self.process.poll()
        if code in (None, 0, 130):
            return None
        if code is not None and code < 0:
            return f"its process was ended from outside ({signal_name(-code)})"
        mark = "stanley: error: "
        told = [line.removeprefix(mark) for line in self.said if line.startswith(mark)]
        return told[-1] if told else f"its process ended with code {code}"

    def read(self) -> None:
        """Keep what it says, until it ends."""
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.said.append(line.rstrip()[:LONGEST])


@dataclass
class Trainings:
    """The trainings that this studio started, by the names of their runs.

    folder   in which they write, and in which a new run's data are looked for
    data     a folder besides it in which their data may lie
    read     reads fields as the command line does
    """

    folder: Path
    data: Path | None
    read: Reader
    by_name: dict[str, Training] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)  # processes elsewhere that were interrupted

    def start(self, name: str, path: Path, recipe: str, fields: Sequence[str]) -> None:
        """Train a recipe into a new run directory; `fields` are KEY=VALUE.

        Raises StanleyError for what the library would refuse, and for what reaches outside the
        folder.
        """
        require(
            not path.exists() or (path.is_dir() and not any(path.iterdir())),
            f"{name} is there already; resume it, or choose another name",
        )
        words = [as_flag(one) for one in fields]
        require(recipe in RECIPES, f"unknown recipe {recipe!r}: {did_you_mean(recipe, RECIPES)}")
        config = resolve(recipe, {}, self.read(words))
        require(
            not getattr(config.data, "download", False),
            "data.download is true, but the page downloads nothing; start it once with stanley "
            "train, or put the files where they are looked for",
        )
        words = [word for word in words if not word.startswith(PLACES)]
        words += [f"--data.{place}={where}" for place, where in self.places(config).items()]
        if self.data is not None and getattr(config.data, "root", "") is None:
            words.append(f"--data.root={self.data}")
        if not any(word.startswith("--keep=") for word in words):
            words.append(f"--keep={KEPT}")
        self.launch(name, ["train", recipe, "--out", str(path), *words])

    def resume(self, name: str, path: Path, steps: int | None) -> None:
        """Go on with a run from its newest checkpoint, to more steps where they are given.

        Raises StanleyError for a run that this user did not train and whose data lie outside the
        folders: a file of a stranger does not decide what is read.
        """
        run = RunDirectory.existing(path)
        config = run.read_config()
        data: Any = config.get("data")
        require(isinstance(data, dict), f"{name} names no data; restore its config.json")
        if not is_signed(path, data):
            self.inside(paths_of(data))
        kind = data.get("kind")
        recipe = next((r for r, c in RECIPES.items() if c.data.kind == kind), None)
        require(
            recipe is not None,
            f"{name} was trained on data of your own; resume it where you started it",
        )
        assert recipe is not None
        more = [] if steps is None else [f"--steps={steps}"]
        more += ["--data.download=false"] * bool(data.get("download"))
        self.launch(
            name,
            ["train", recipe, "--config", str(run.config_file), "--out", str(path), *more],
        )

    def places(self, config: TrainConfig) -> dict[str, Path]:
        """Where the data of a configuration lie. Raises StanleyError where that is outside the
        folders, and where a part is code that would be imported.
        """
        plain = to_dict(config)
        for part in ("data", "network", "sampler", "objective"):
            require(
                not any(
                    kind in OWN for name, kind in flatten(plain[part]).items() if "kind" in name
                ),
                f"{part} is code of your own, which the page does not import; start it with "
                "stanley train, and it is shown here",
            )
        return self.inside(paths_of(plain["data"]))

    def inside(self, places: dict[str, str]) -> dict[str, Path]:
        """The places of data, each inside one of the folders."""
        allowed = [self.folder] + ([] if self.data is None else [self.data])
        found = {}
        for name, place in places.items():
            found[name] = (self.folder / Path(place).expanduser()).resolve()
            require(
                any(found[name].is_relative_to(one) for one in allowed),
                f"data.{name} is {place}, which is not inside {self.folder}; start the studio with "
                "--data FOLDER to let trainings read it",
            )
        return found

    def launch(self, name: str, words: list[str]) -> None:
        before = self.by_name.get(name)
        require(before is None or not before.running, f"{name} is training already")
        running = sum(training.running for training in self.by_name.values())
        require(
            running < MOST, f"{running} trainings are running, the most at once; stop one first"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "stanley", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal is the studio's, which passes it on
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        training = Training(words, process)
        threading.Thread(target=training.read, name=f"said by {name}", daemon=True).start()
        self.by_name[name] = training

    def stop(self, name: str, path: Path) -> None:
        """Ask a training to save and to end, as Ctrl-C does, once: a second signal would end it
        without a checkpoint. Raises StanleyError for one that was started elsewhere where it is not
        certain which process it is.
        """
        training = self.by_name.get(name)
        if training is None or not training.running:
            require(is_locked(path / ".lock"), f"{name} is not training")
            if not self.was_asked(name, path):
                self.asked[name] = interrupt(path)
        elif not training.stopping:
            training.stopping = True
            with suppress(ProcessLookupError):
                training.process.send_signal(signal.SIGINT)

    def was_asked(self, name: str, path: Path) -> bool:
        """Whether the process that trains a run, started elsewhere, was interrupted from here."""
        return name in self.asked and self.asked[name] == written(path / ".lock")

    def close(self) -> None:
        """Stop all, each with a checkpoint; one that does not end in time is left to itself."""
        running = [name for name, training in self.by_name.items() if training.running]
        for name in running:
            self.stop(name, self.folder / name)
        end = time.monotonic() + LEAVING
        for name in running:
            with suppress(subprocess.TimeoutExpired):
                self.by_name[name].process.wait(max(0.0, end - time.monotonic()))


def as_flag(field_given: str) -> str:
    """`--sampler.step-size=0.1` of `sampler.step-size=0.1`."""
    name, given, value = field_given.partition("=")
    name = name.strip().lstrip("-")
    require(given, f"{field_given!r} is no field; write NAME=VALUE, such as optimizer.lr=1e-3")
    return f"--{name}={value.strip()}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
