"""The run directory: one folder that holds everything a run is.

config.json      the resolved configuration
records.jsonl    one line per training step, each with "step"
events.jsonl     what happened besides: resumed, rolled back, diverged, a checkpoint found broken
checkpoints/     step-00001000.safetensors, the last few
samples/  plots/  scores.json
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from stanley.errors import StanleyError, require
from stanley.files import write_atomic, write_json


class RunDirectory:
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

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> RunDirectory:
        run = cls(path)
        require(
            run.path.is_dir(),
            f"{path}: no such run directory; train one with: stanley train rings --out {path}",
        )
        require(
            run.config_file.is_file(),
            f"{path}: not a run directory, it has no config.json; give the --out of a stanley train",
        )
        return run

    def create(self) -> None:
        """Make the folders, or say in one line why they cannot be made."""
        try:
            for folder in (self.path, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StanleyError(
                f"cannot create the run directory {self.path}: {error.strerror}; choose another --out"
            ) from error
        require(os.access(self.path, os.W_OK), f"{self.path} is not writable; choose another --out")
        others = [p.name for p in self.path.iterdir() if p.name not in {"checkpoints", ".lock"}]
        require(
            self.config_file.exists() or not others,
            f"{self.path} holds other files ({', '.join(sorted(others)[:3])}) and no config.json; "
            "choose an empty or a new --out",
        )

    def lock(self) -> None:
        """One training process per run directory, also on a shared file system that supports flock."""
        if os.name != "posix":
            return
        import fcntl

        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise StanleyError(
                f"{self.path} is in use by another training process; wait for it or choose another --out"
            ) from error

    def read_config(self) -> dict[str, Any]:
        try:
            return json.loads(self.config_file.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise StanleyError(
                f"{self.config_file} cannot be read as JSON ({error}); restore it or use a new --out"
            ) from error

    def write_config(self, config: dict[str, Any]) -> None:
        write_json(self.config_file, config)

    def truncate_records(self, last_step: int) -> None:
        """Keep the records of steps 1 … last_step: what comes after will be computed again."""
        self.close()
        if not self.records_file.exists():
            require(
                last_step == 0,
                f"{self.records_file} is missing but a checkpoint is at step {last_step}; restore it",
            )
            return
        kept = [r for r in complete_lines(self.records_file) if json.loads(r)["step"] <= last_step]
        write_atomic(self.records_file, "".join(line + "\n" for line in kept).encode())

    def append(self, record: dict[str, Any]) -> None:
        """One line, handed to the operating system at once: it survives the death of the process."""
        try:
            if self._records is None:
                self._records = self.records_file.open("a")
            self._records.write(json.dumps(record) + "\n")
            self._records.flush()
        except OSError as error:
            raise StanleyError(
                f"cannot write {self.records_file}: {error.strerror}; free some space, the same command then resumes"
            ) from error

    def sync(self) -> None:
        """Records reach the disk before the checkpoint that vouches for them."""
        if self._records is not None:
            os.fsync(self._records.fileno())

    def event(self, **event: Any) -> None:
        with self.events_file.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in complete_lines(self.records_file)] if self.records_file.exists() else []

    def last_record(self) -> dict[str, Any] | None:
        return next(iter(self.records()[-1:]), None)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in complete_lines(self.events_file)] if self.events_file.exists() else []

    def close(self) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None

    def release(self) -> None:
        self.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def complete_lines(path: Path) -> Iterator[str]:
    """The lines of a file that end in a newline; a torn last line of a killed process is left out."""
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield line.rstrip("\n")
