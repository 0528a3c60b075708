"""A command in a forked process, stopped at the k-th of its file operations.

What counts as one: opening a file to write, each write to it, fsync, rename, unlink, making and
removing a folder. The process is forked from one that has loaded everything, so that a run costs as
much as its work, and a kill is a kill: `os._exit` in the middle, no `finally`, no buffer written.
"""

from __future__ import annotations

import builtins
import errno
import functools
import io
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

How = Literal["kill", "torn", "interrupt", "full"]
HOWS: tuple[How, ...] = ("kill", "torn", "interrupt", "full")
KILLED = 137
SECONDS = 1200  # a child that takes longer, on a machine that others keep busy, is stuck


@dataclass
class Ended:
    """Exit code, what was said, and the file operations that were made, each as `what path`."""

    code: int
    out: str
    err: str
    operations: list[str]


class Stopper:
    """Counts the file operations under a folder, and stops the process at one of them."""

    def __init__(self, folder: Path, at: int | None, how: How) -> None:
        self.folder, self.at, self.how = str(folder), at, how
        self.operations: list[str] = []
        self.descriptors: dict[int, str] = {}

    def inside(self, path: Any) -> str | None:
        """The path within the folder, or None for another one."""
        if isinstance(path, int):
            return self.descriptors.get(path)
        try:
            whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100, no Path below Path
        except TypeError:
            return None
        return whole[len(self.folder) + 1 :] if whole.startswith(self.folder + "/") else None

    def reach(self, what: str, name: str, tear: Callable[[], object] | None = None) -> None:
        """One more operation: go on, or stop here, a write after half of it where it is torn."""
        self.operations.append(f"{what} {name}")
        if self.how == "full" and what in ("unlink", "remove", "rmdir"):
            return  # these a full disk lets through
        if self.at is None or len(self.operations) != self.at + 1:
            return
        if self.how == "torn" and tear is not None:
            tear()
        if self.how in ("kill", "torn"):
            os._exit(KILLED)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        self.at = None  # a full disk: this one fails, what tidies up goes through
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def install(self) -> None:
        """Put itself in front of the operations that Python's own modules make."""
        for name in ("fsync", "ftruncate"):
            self.wrap(os, name, lambda a: a[:1])
        for name in ("unlink", "remove", "rmdir", "mkdir"):
            self.wrap(os, name, lambda a: a[:1])
        for name in ("rename", "replace", "link", "symlink"):
            self.wrap(os, name, lambda a: a[1:2])
        self.wrap_descriptors()
        self.wrap_open()

    def wrap(
        self, module: Any, name: str, paths: Callable[[tuple[Any, ...]], Sequence[Any]]
    ) -> None:
        original = getattr(module, name)

        def stopping(*a: Any, **k: Any) -> Any:
            for path in paths(a):
                inside = self.inside(path)
                if inside is not None:
                    self.reach(name, inside)
            return original(*a, **k)

        setattr(module, name, stopping)

    def wrap_descriptors(self) -> None:
        """os.open, by which tempfile makes its files, and os.write."""
        original, write, close = os.open, os.write, os.close

        def opening(path: Any, flags: int, *a: Any, **k: Any) -> int:
            inside = self.inside(path)
            if inside is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.reach("create", inside)
            descriptor = original(path, flags, *a, **k)
            if inside is not None:
                self.descriptors[descriptor] = inside
            return descriptor

        def writing(descriptor: int, content: Any) -> int:
            inside = self.inside(descriptor)
            if inside is not None:
                half = bytes(content)[: len(content) // 2]
                self.reach("write", inside, lambda: write(descriptor, half))
            return write(descriptor, content)

        def closing(descriptor: int) -> None:
            self.descriptors.pop(descriptor, None)
            close(descriptor)

        os.open, os.write, os.close = opening, writing, closing  # type: ignore[assignment]

    def wrap_open(self) -> None:
        original = io.open

        def opening(file: Any, mode: str = "r", *a: Any, **k: Any) -> Any:
            inside = self.inside(file)
            writes = any(letter in mode for letter in "wax+")
            if inside is not None and writes and not isinstance(file, int):
                self.reach("create" if not os.path.exists(file) else "open", inside)  # noqa: PTH110
            opened = original(file, mode, *a, **k)
            if inside is None or not writes:
                return opened
            self.descriptors[opened.fileno()] = inside
            return Written(opened, self, inside)

        io.open = builtins.open = opening  # type: ignore[assignment]


class Written:
    """A file whose writes are operations."""

    def __init__(self, file: Any, stopper: Stopper, name: str) -> None:
        self.__dict__.update(file=file, stopper=stopper, name_inside=name)

    def write(self, content: Any) -> Any:
        half = content[: len(content) // 2]
        self.stopper.reach(
            "write", self.name_inside, lambda: (self.file.write(half), self.file.flush())
        )
        return self.file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.file, name, value)

    def __enter__(self) -> Written:
        self.file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self.file)


def run(arguments: Sequence[str], folder: Path, at: int | None = None, how: How = "kill") -> Ended:
    """The command in a process of its own, in the folder; stopped at operation `at`, from 0."""
    server = zygote()
    asked = {"arguments": list(arguments), "folder": str(folder), "at": at, "how": how}
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    return Ended(**json.loads(server.stdout.readline()))


@functools.cache
def zygote() -> subprocess.Popen[str]:
    """A process with one thread that has loaded all, and forks: a test process has threads."""
    words = [sys.executable, "-m", "tests.kills.zygote"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(words, cwd=root, text=True, **pipes)  # type: ignore[call-overload]


def forked(arguments: Sequence[str], folder: Path, at: int | None, how: How) -> Ended:
    said = folder.parent / "said.json"
    said.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            os._exit(child_of(arguments, folder, at, how, said))
        finally:
            os._exit(99)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(SECONDS)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.alarm(0)
    code = os.waitstatus_to_exitcode(status)
    if not said.exists():
        return Ended(code, "", "", [])
    told = json.loads(said.read_text())
    return Ended(code, told["out"], told["err"], told["operations"])


def child_of(arguments: Sequence[str], folder: Path, at: int | None, how: How, said: Path) -> int:
    """What the forked process does; its exit code."""
    from stanley.cli import main

    out, err = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, err
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.resetwarnings()
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", ResourceWarning)
    os.chdir(folder)
    os.environ["STANLEY_CACHE"] = str(folder / "cache")
    write, opened = os.write, os.open
    stopper = Stopper(folder, at, how)
    stopper.install()
    code = 0
    try:
        main(list(arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 98
    except BaseException:
        traceback.print_exc()
        code = 97
    told = {"out": out.getvalue(), "err": err.getvalue(), "operations": stopper.operations}
    descriptor = opened(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    content = json.dumps(told).encode()
    while content:
        content = content[write(descriptor, content) :]
    return code
