"""A folder of small runs, models and data in which one command is run in this process, watched and
judged.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from stanley.cli import main
from stanley.errors import StanleyError
from tests.comparing.here import Here

ROOT = Path(__file__).resolve().parents[2]
FAILURES = ROOT / "runs" / "fuzz"

#: Which share of about 2,100 inputs is tried, and from which seed they are drawn; this share takes
#: about a minute of one core, and is the same in every `make test`.
SCALE = float(os.environ.get("STANLEY_FUZZ", "0.15"))
SEED = int(os.environ.get("STANLEY_FUZZ_SEED", "0"))

SECONDS = 20.0  # of the processor; a command on a small model that takes more hangs
PATIENCE = 600.0  # by the clock, for a machine that others keep busy
MEMORY = 1 << 30  # bytes above what was in use before
LONGEST = 2000  # characters of a line of stderr

SMALL = (
    *(
        "--batch",
        "8",
        "--objective.chain-steps",
        "1",
        "--save-every",
        "2",
        "--objective.bank-size",
        "8",
        "--quiet",
    ),
    *("--network.width", "4", "--network.depth", "1", "--device", "cpu"),
)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class LocalWorkers(Here):
    """The workers of a comparison, in this process, where what they raise is seen: a comparison
    takes an error that it does not know for a process that died.
    """

    def __init__(self, count: int) -> None:
        self.at_once = count

    def submit(self, function: Callable[..., Any], argument: Any) -> Any:
        future = super().submit(function, argument)
        error = future.exception()
        if error is not None and not isinstance(error, StanleyError):
            raise error
        return future

    def close(self) -> None:
        pass


class Stuck(BaseException):
    """The time of a command is up."""


@dataclass
class Ended:
    """How a command ended, and what it said."""

    code: object
    out: str
    err: str
    trace: str = ""
    touched: list[str] = field(default_factory=list)
    memory: int = 0


@dataclass
class Watch:
    """What the audit hook of this process writes down while a command runs."""

    on: bool = False
    inside: str = ""
    forbidden: str = ""
    seen: list[str] = field(default_factory=list)


WATCH = Watch()
NEVER = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
)
CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.truncate",
    "os.link",
    "os.symlink",
)


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Writes and deletions outside the sandbox, programs and connections; reads of what is
    forbidden.
    """
    if not WATCH.on:
        return
    if event in NEVER:
        WATCH.seen.append(f"{event} {arguments[:2]!r}")
    elif event == "open":
        path, mode, flags = arguments
        if not isinstance(path, str | bytes | os.PathLike):
            return
        whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100, no Path in an audit hook
        written = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        writes = (
            any(c in mode for c in "wax+")
            if isinstance(mode, str)
            else bool((flags or 0) & written)
        )
        if WATCH.forbidden and whole.startswith(WATCH.forbidden):
            WATCH.seen.append(f"opened {whole}")
        elif writes and not mine(whole):
            WATCH.seen.append(f"wrote {whole}")
    elif event in CHANGES:
        for path in arguments[:2]:
            if isinstance(path, str | bytes | os.PathLike):
                whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
                if not mine(whole):
                    WATCH.seen.append(f"{event} {whole}")


def mine(path: str) -> bool:
    return (
        path.startswith((WATCH.inside, "/dev/"))
        or "__pycache__" in path
        or any(word in path for word in ("matplotlib", "torchinductor"))
    )


sys.addaudithook(audit)


def peak_memory() -> int:
    """Bytes that were in use at most since the last call of `forget_peak`; 0 where the system does
    not tell.
    """
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 0


def forget_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """The time, and as the last resort the address space, that a command may take."""

    def late(number: int, frame: object) -> None:
        raise Stuck(f"not done after {SECONDS:g} s of the processor")

    before = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 8 * MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def call(arguments: Sequence[str], folder: Path, forbidden: Path | None = None) -> Ended:
    """The command in this process, in the folder, as a shell would start it."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    trace = ""
    modules = {name: sys.modules[name] for name in list(sys.modules)}
    path, here, environment = list(sys.path), Path.cwd(), dict(os.environ)
    os.environ.update(STANLEY_CACHE=str(folder / "cache"), STANLEY_TRACEBACK="1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)
    WATCH.inside, WATCH.seen = str(folder.resolve()), []
    WATCH.forbidden = "" if forbidden is None else str(forbidden.resolve())
    before = forget_peak()
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
            mock.patch("stanley.comparing.workers.LocalWorkers", LocalWorkers),
            limited(),
        ):
            warnings.simplefilter("default")
            for kind in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", kind)
            WATCH.on = True
            try:
                main(list(arguments))
            except SystemExit as end:
                code = 0 if end.code is None else end.code
            finally:
                WATCH.on = False
    except BaseException:  # whatever escapes is what is looked for
        trace = traceback.format_exc()
        code = "escaped"
    finally:
        os.chdir(here)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
    replaced = [
        n for n, m in modules.items() if sys.modules.get(n) is not m and not n.startswith("__mp")
    ]
    seen = list(WATCH.seen)
    if replaced:
        seen.append(f"replaced the modules {replaced[:3]}")
        sys.modules.update(modules)
    return Ended(code, out.getvalue(), err.getvalue(), trace, seen, max(0, peak_memory() - before))


def faults(end: Ended, arguments: Sequence[str]) -> list[str]:
    """Everything that a command must never do, whatever it was given."""
    found = []
    if end.code not in (0, 2, 130):
        found.append(f"ended with {end.code!r}")
    if end.trace or "Traceback" in end.err:
        found.append(f"a traceback: … {(end.trace or end.err).strip()[-700:]}")
    lines = end.err.splitlines()
    errors = [line for line in lines if line.startswith("stanley: error: ")]
    strange = [line for line in lines if not line.startswith(("stanley: ", "epoch "))]
    if end.code == 2 and len(errors) != 1:
        found.append(f"{len(errors)} lines of error instead of one: {end.err[-500:]!r}")
    if end.code == 0 and errors:
        found.append(f"an error and exit code 0: {end.err[-500:]!r}")
    if strange and not end.trace:
        found.append(f"stderr has a line of its own: {strange[0][:300]!r}")
    longest = max(map(len, lines), default=0)
    if longest > LONGEST:
        found.append(f"a line of stderr has {longest} characters")
    for name, text in (("stdout", end.out), ("stderr", end.err)):
        if escape := CONTROL.search(text):
            found.append(f"{name} has the control character {escape[0]!r}")
    if end.code == 0 and "--json" in arguments:
        try:
            json.loads(end.out, parse_constant=lambda word: 1 / 0)
        except (ValueError, ZeroDivisionError):
            found.append(f"--json printed no JSON: {end.out[:200]!r}")
    found += end.touched
    if end.memory > MEMORY and "out of memory" not in end.err:
        found.append(f"took {end.memory / 2**20:.0f} MiB")
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, by its path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    }


def attempt(
    arguments: Sequence[str],
    base: Path | None = None,
    changed: dict[str, bytes | None] | None = None,
    *,
    may_change: Sequence[str] = ("new",),
    prepare: Callable[[Path], None] | None = None,
    also: Callable[[Path, Ended], Sequence[str]] = lambda folder, end: (),
) -> Ended:
    """Run the command in a copy of `base` with some files changed (None removes one); fail on the
    first fault.

    Every file that was there is there afterwards as it was, but for those whose path starts with
    one of `may_change`. A failing input is kept as a folder, and the command that repeats it is
    printed.
    """
    count()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = Path(temporary).resolve() / "box"
        fill(folder, base, changed or {}, prepare)
        note(arguments, base, changed or {})
        before = tree(folder)
        end = call(arguments, folder, folder / "foreign")
        after = tree(folder)
        found = faults(end, arguments)
        for name, content in before.items():
            if not name.startswith(tuple(may_change)) and after.get(name) != content:
                found.append(f"{name} {'is gone' if name not in after else 'was changed'}")
        found += also(folder, end)
    if found:
        keep(arguments, base, changed or {}, prepare, found)
    return end


def fill(
    folder: Path,
    base: Path | None,
    changed: dict[str, bytes | None],
    prepare: Callable[[Path], None] | None,
) -> None:
    if base is not None:
        shutil.copytree(base, folder)
    folder.mkdir(exist_ok=True)
    for name, content in changed.items():
        path = folder / name
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if prepare is not None:
        prepare(folder)


def keep(
    arguments: Sequence[str],
    base: Path | None,
    changed: dict[str, bytes | None],
    prepare: Callable[[Path], None] | None,
    found: Sequence[str],
) -> None:
    """Leave the input where it can be tried again, and fail."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "by hand").split("::")[-1].split(" ")[0]
    folder = FAILURES / re.sub(r"\W+", "-", test)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fill(folder, base, changed, prepare)
    again = f"cd {folder} && python -m stanley {shlex.join(arguments)}"
    (folder / "AGAIN").write_text(again + "\n", encoding="utf-8", errors="backslashreplace")
    raise AssertionError("\n".join([*found[:5], f"seed {SEED}; again: {again}"]))


def note(arguments: Sequence[str], base: Path | None, changed: dict[str, bytes | None]) -> None:
    """What is about to run, for the case that it takes this process with it."""
    FAILURES.mkdir(parents=True, exist_ok=True)
    files = {
        name: None if c is None else base64.b64encode(c).decode() for name, c in changed.items()
    }
    value = {"arguments": list(arguments), "base": str(base), "files": files}
    (FAILURES / f"last-of-{os.getpid()}.json").write_text(json.dumps(value))


COUNT = {"inputs": 0}


def count() -> None:
    """One more input; the number is written down where `make fuzz` adds it up."""
    COUNT["inputs"] += 1
    where = os.environ.get("STANLEY_FUZZ_COUNTS")
    if where:
        (Path(where) / str(os.getpid())).write_text(str(COUNT["inputs"]))


# What the inputs are made from: each is built once in a process, in a folder of its own.


def built(arguments: Sequence[str], folder: Path) -> None:
    end = call(arguments, folder)
    assert end.code == 0, f"{arguments}: {end.err}{end.trace}"


@functools.cache
def empty() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-base-")).resolve()


@functools.cache
def plane() -> Path:
    """`run`, a judged run in the plane, and `packed`, made of it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-base-")).resolve()
    built(["train", "rings", "--out", "run", "--steps", "4", "--data.num", "60", *SMALL], folder)
    built(["pack", "run", "--out", "packed"], folder)
    return folder


COMPARED = (
    *("compare", "rings", "--samplers", "langevin,mala", "--grid", "sampler.step_size=0.02,0.03"),
    *("--seeds", "1", "--steps", "2", "--budget", "iterations", "--scores", "record.loss"),
    *("--data.num", "40", "--batch", "8", "--objective.bank-size", "8"),
    *("--network.width", "4", "--network.depth", "1", "--out", "new"),
)


@functools.cache
def compared() -> Path:
    """`new`, a comparison of four runs that were tuned and two that are reported."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-base-")).resolve()
    built(COMPARED, folder)
    return folder


@functools.cache
def judged() -> Path:
    """`run` with scores, likelihood and a diagnosis in it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-base-")).resolve()
    shutil.copytree(plane() / "run", folder / "run")
    built(["evaluate", "run", "--num", "8", "--steps", "2"], folder)
    built(["likelihood", "run", "--levels", "2", "--chains", "2", "--rows", "4"], folder)
    built(["sample", "run", "--num", "2", "--steps", "1"], folder)
    return folder


@functools.cache
def images() -> Path:
    """`run` and `packed` on grey images of 8×8 pixels, and `pictures` of that size."""
    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="fuzz-base-")).resolve()
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (12, 8, 8), np.uint8)
    np.save(folder / "images.npy", rows)
    (folder / "pictures").mkdir()
    for k in range(3):
        Image.fromarray(rows[k]).save(folder / "pictures" / f"{k}.png")
    data = ("--data.path", "images.npy")
    built(["train", "array-contrastive", "--out", "run", "--steps", "2", *SMALL, *data], folder)
    built(["pack", "run", "--out", "packed"], folder)
    return folder
