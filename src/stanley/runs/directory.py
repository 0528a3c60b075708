"""The run directory: the folder that holds everything about a run.

config.json      the resolved configuration
records.jsonl    one line for each training step, with its "step"
events.jsonl     what else happened: resumed, reconfigured, warned, collapsed, rolled back, diverged
checkpoints/     step-00001000.safetensors and so on, the newest few
samples/         samples, and plots/ the figures
index.html       all of it on a page, of `stanley train` and `stanley report`
scores.json      answers of commands, also likelihood.json; the answers to other requests are kept
                 as scores-former.json and so on
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from stanley.errors import StanleyError, in_one_line, require
from stanley.files import PART, lock, sweep, write_atomic, write_json
from stanley.notebooks import in_a_line, in_html
from stanley.reading import MEGABYTE, checked_lines, read_json, read_whole

LARGEST = 4096 * MEGABYTE  # of records: some ten million steps

#: One line of records.jsonl: the numbers of one training step, None where one is not finite.
Record = dict[str, Any]

#: Kinds of events in which a run lost something.
WENT_WRONG = ("collapsed", "rollback", "diverged")
#: What an event of a kind must say.
FIELDS_OF = {"resumed": ("step",)} | dict.fromkeys((*WENT_WRONG, "warned"), ("step", "reason"))


class RunDirectory:
    """A run directory and its files. As a context manager it is released at the end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.records_file = self.path / "records.jsonl"
        self.events_file = self.path / "events.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.plots = self.path / "plots"
        self.scores_file = self.path / "scores.json"
        self._records: TextIO | None = None
        self._lock: TextIO | None = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The directory of a run that is there; raises StanleyError where none is."""
        run = cls(path)
        require(
            run.path.is_dir(),
            f"{path}: no such run directory; train one with `stanley train rings --out {path}`, "
            "or use --pretrained mnist or cifar10",
        )
        require(
            run.config_file.is_file(),
            f"{path} is not a run directory, because it has no config.json; give the --out of a"
            " `stanley train`",
        )
        return run

    def told(self) -> dict[str, object]:
        """What is known of the run, for a person; it never raises, whatever the files hold."""
        told: dict[str, object] = {"path": self.path}
        try:
            config = self.read_config()
            for part in ("data", "network", "sampler"):
                told[part] = config[part]["kind"]
            told["step"] = f"{self.last_step():,} of {config['steps']:,}"
            if self.scores_file.exists():
                scores = read_json(self.scores_file, dict[str, Any], "restore it")
                numbers = (scores.get(name) for name in ("kl", "tv"))
                known = zip(("KL", "total variation"), numbers, strict=True)
                told |= {name: f"{v:.4g}" for name, v in known if isinstance(v, float)}
        except (StanleyError, LookupError, TypeError, ValueError) as error:
            told["cannot be read"] = in_one_line(error)
        return told

    def last_step(self) -> int:
        """The step of the last whole record; 0 where there is none."""
        last = tail_of(self.records_file)
        return last[-1]["step"] if last else 0

    def __repr__(self) -> str:
        return in_a_line("RunDirectory", self.told())

    def _repr_html_(self) -> str:
        return in_html("Run", self.told())

    def create(self) -> None:
        """Make the folders; raises StanleyError where they cannot be made, or hold other files."""
        try:
            for folder in (self.path, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StanleyError(
                f"cannot create the run directory {self.path}: {error.strerror}; choose another"
                " --out"
            ) from error
        require(os.access(self.path, os.W_OK), f"{self.path} is not writable; choose another --out")
        sweep(self.path)
        ours = {self.checkpoints, self.path / ".lock", self.path / ".origin"}
        others = [p.name for p in self.path.iterdir() if p not in ours and p.suffix != PART]
        require(
            self.config_file.exists() or not others,
            f"{self.path} holds other files ({', '.join(sorted(others)[:3])}) and no config.json; "
            "choose an empty or a new --out",
        )

    def lock(self) -> None:
        """Lock the directory for this process; raises StanleyError where another one trains in it.

        The file holds the number of the process. Outside POSIX systems nothing is locked, and on a
        file system without locks nothing but a warning says so.
        """
        with writing(self.path / ".lock"):
            self._lock = (self.path / ".lock").open("a")  # the number of another stays in it
        try:
            alone = lock(self._lock.fileno(), wait=False)
        except OSError as error:
            warnings.warn(
                f"the file system of {self.path} has no locks ({error.strerror}): see to it that "
                "no other process trains in that folder",
                stacklevel=3,
            )
            return
        if not alone:
            self.release()
            raise StanleyError(
                f"{self.path} is in use by another training process; wait until it ends, or choose"
                f" another --out"
            )
        with writing(self.path / ".lock"):
            self._lock.truncate(0)
            self._lock.write(f"{os.getpid()}\n")
            self._lock.flush()
        sweep(self.checkpoints)

    def has_begun(self) -> bool:
        """Whether a step was computed. Until then the configuration may change in every field."""
        later = [p for p in self.checkpoints.glob("step-*") if p.stem != "step-00000000"]
        return bool(later) or (self.records_file.exists() and self.records_file.stat().st_size > 0)

    def read_config(self) -> dict[str, Any]:
        cure = "restore it, or use another --out"
        return read_json(self.config_file, dict[str, Any], cure)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write it, and that this user asked for the data that it names."""
        from stanley.runs.origin import sign

        sign(self.path, config["data"])
        write_json(self.config_file, config)

    def truncate_records(self, last_step: int) -> None:
        """Keep the records of steps 1 … last_step; later steps will be computed again.

        Raises StanleyError where one of these records is missing, damaged or there twice.
        """
        self.close()
        if not self.records_file.exists():
            require(
                last_step == 0,
                f"{self.records_file} is missing, but there is a checkpoint of step {last_step}; "
                "restore the file, or start again with another --out",
            )
            return
        kept: list[str] = []
        for line in complete_lines(self.records_file):
            if len(kept) == last_step or step_of(line) != len(kept) + 1:
                break
            kept.append(line)
        require(
            len(kept) == last_step,
            f"{self.records_file} has no record of step {len(kept) + 1} in line {len(kept) + 1}, "
            f"but there is a checkpoint of step {last_step}; "
            "restore the file, or start again with another --out",
        )
        write_atomic(self.records_file, "".join(line + "\n" for line in kept).encode())

    def append(self, *records: Record) -> None:
        """Write one line for each, to the operating system, so that they survive this process."""
        with writing(self.records_file):
            if self._records is None:
                self._records = self.records_file.open("a", encoding="utf-8")
            self._records.write("".join(json.dumps(record) + "\n" for record in records))
            self._records.flush()

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        if self._records is not None:
            with writing(self.records_file):
                os.fsync(self._records.fileno())

    def event(self, **event: Any) -> None:
        """Append an event: the few events are all written again, without one that was cut off."""
        before = complete_lines(self.events_file) if self.events_file.exists() else ()
        lines = (*before, json.dumps(event))
        write_atomic(self.events_file, "".join(line + "\n" for line in lines).encode())

    def records(self) -> list[Record]:
        """The records of all steps; raises StanleyError where a line is damaged."""
        from stanley.runs.contents import Record

        records = json_lines(self.records_file, Record)
        for number, record in enumerate(records, 1):
            step = record.get("step")
            require(
                isinstance(step, int) and step > 0,
                f"{self.records_file} line {number} is damaged (step is {step!r}); restore the"
                f" file",
            )
        return records

    def last_record(self) -> Record | None:
        return next(iter(self.records()[-1:]), None)

    def events(self) -> list[dict[str, Any]]:
        from stanley.runs.contents import Event

        events = json_lines(self.events_file, Event)
        for number, event in enumerate(events, 1):
            for name in FIELDS_OF.get(event["kind"], ()):
                require(
                    name in event,
                    f"{self.events_file} line {number} is damaged ({name} is missing); restore the"
                    " file",
                )
        return events

    def went_wrong(self) -> list[dict[str, Any]]:
        """The events of a run that lost something: divergences, collapses and rollbacks."""
        return [event for event in self.events() if event["kind"] in WENT_WRONG]

    def close(self) -> None:
        if self._records is not None:
            with suppress(OSError):  # was reported when the record was appended
                self._records.close()
            self._records = None

    def release(self) -> None:
        """Close the records and give the lock back."""
        self.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into a StanleyError that names the file."""
    try:
        yield
    except OSError as error:
        raise StanleyError(
            f"cannot write {path}: {error.strerror or error}; free some space or change its "
            "permissions, and the same command resumes"
        ) from error


def json_lines(path: Path, kind: Any) -> list[Any]:
    """The values of a file of JSON lines, all of the type `kind`; none where there is no file."""
    if not path.exists():
        return []
    return checked_lines(complete_lines(path), kind, str(path), "restore the file")


def tail_of(path: Path, size: int = 1 << 16) -> list[Record]:
    """The last whole records of a file, those in its last `size` bytes; what is no record is left
    out.
    """
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        *lines, _ = file.read().decode("utf-8", "replace").split("\n")
    return [json.loads(line) for line in lines if step_of(line) is not None]


def step_of(line: str) -> int | None:
    try:
        return json.loads(line)["step"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def complete_lines(path: Path) -> list[str]:
    """The lines of a file that end in a newline; a last line that was cut off is left out."""
    content = read_whole(path, LARGEST, "restore the file")
    *lines, _ = content.decode("utf-8", "replace").split("\n")
    return lines
