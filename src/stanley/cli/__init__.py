"""The command line. Nothing here imports torch before a command runs,
so that --help answers at once.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError

from stanley.cli import (
    comparing,
    diagnosing,
    judging,
    likelihood,
    listing,
    models,
    reporting,
    sampling,
    studio,
    training,
)
from stanley.cli.features import features
from stanley.cli.flags import UnknownFlag
from stanley.cli.images import composing, interpolating, restoring, scoring
from stanley.cli.output import open_streams, say
from stanley.cli.usage import START, help_of
from stanley.errors import StanleyError, did_you_mean, in_one_line, require
from stanley.memory import keep_freed_memory
from stanley.torchrun import this_process

app = App(
    name="stanley",
    help="Train energy-based models with MCMC, sample them, and judge them.",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
    help_epilogue=START,
)
for command in (
    training.train,
    sampling.sample,
    diagnosing.diagnose,
    judging.evaluate,
    likelihood.likelihood,
    judging.plot,
    comparing.compare,
    reporting.report,
    studio.studio,
    listing.recipes,
    listing.targets,
    training.demo,
    restoring.inpaint,
    restoring.denoise,
    interpolating.interpolate,
    composing.compose,
    scoring.ood,
    models.pack,
    models.push,
    models.pull,
    models.export,
):
    app.command(command, **help_of(command))
app.command(features)

#: Seconds that the first process has to tell an error which others have met as well.
PATIENCE = 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exit code 0, 2 for a request that cannot be carried out, 130 after Ctrl-C.

    Of the processes that torchrun starts, all train and the first one speaks.
    """
    open_streams()
    if this_process().size == 1:
        keep_freed_memory()
    warnings.showwarning = lambda message, *_, **__: tell(f"warning: {message}")
    for stream in (sys.stdout, sys.stderr):
        # a console or pipe that lacks γ or ‖ shows ? in its place
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        require_one_process(words)
        if words and words[0] == "train" and {"--help", "-h"} & set(words):
            show_help_of_train()
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        stop(" ".join(str(error).split()))
    except UnknownFlag as error:
        stop(f"{error}: {suggestion(error.flag, words)}")
    except StanleyError as error:
        stop(str(error))
    except KeyboardInterrupt as interrupt:
        tell(str(interrupt) or "interrupted")
        raise SystemExit(130) from None
    except SystemExit as end:
        if line_of_target(end):
            stop(what_happened(end))
        raise SystemExit(0) from None  # the end of a help text, or the reader of one went away
    except BaseException as error:  # also one that a user's own target made up
        stop(what_happened(error))


def what_happened(error: BaseException) -> str:
    """What no part of the program has put into words: memory, a user's own code, the operating
    system, or a fault, which is raised again where STANLEY_TRACEBACK is set.
    """
    reason = in_one_line(error)
    if out_of_memory(error):
        return (
            f"out of memory ({reason}); lower batch, objective.bank_size, network.width, --num, or "
            "the size of the data"
        )
    if line := line_of_target(error):
        return f"{line} raised {reason}"
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{error.filename}: "
        return f"{name}{error.strerror}"
    if os.environ.get("STANLEY_TRACEBACK"):
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{reason} in {Path(last.filename).name}, line {last.lineno}. This is a fault of stanley: "
        "STANLEY_TRACEBACK=1 shows where it is from"
    )


def line_of_target(error: BaseException) -> str | None:
    """The line of the user's own file in which it was raised, None where that is not involved."""
    own_code = sys.modules.get("stanley.own_code")
    files = set() if own_code is None else own_code.FILES
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{f.filename}, line {f.lineno}" for f in frames if f.filename in files]
    return lines[-1] if lines else None


def show_help_of_train() -> None:
    """The help of the command, then all fields of the configuration."""
    from stanley.cli.field_help import field_lines

    app.help_print(["train"])
    print("\n" + "\n".join(field_lines()))
    raise SystemExit(0)


def suggestion(flag: str, words: Sequence[str]) -> str:
    """What may have been meant by a flag that the command does not have."""
    command = app.parse_commands(words)[1][-1].default_command
    flags = inspect.signature(command).parameters if command else ()
    likely = did_you_mean(flag, {"sampler", *(name.replace("_", "-") for name in flags)})
    return likely if "?" in likely else "beside the flags of --help only --sampler and its fields"


def out_of_memory(error: BaseException) -> bool:
    """torch has a class of its own for a GPU alone; what the CPU cannot allocate it reports as a
    RuntimeError.
    """
    signs = ("can't allocate memory", "Storage size calculation overflowed", "out of memory")
    told = isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    return isinstance(error, MemoryError) or told


def require_one_process(words: Sequence[str]) -> None:
    """torchrun is for train; any other command would do the same work once per process,
    into the same files.
    """
    command = words[0] if words else "--help"
    alone = command == "train" or command.startswith("-") or this_process().size == 1
    require(
        alone,
        f"{command} runs in one process, torchrun started {this_process().size}; leave"
        " torchrun out",
    )


def tell(message: str) -> None:
    if this_process().rank == 0:
        say(message)


def stop(message: str) -> None:
    """One line and exit code 2. torchrun ends all processes as soon as one has ended: where several
    meet the same error the first one speaks, and another only if that is not the end of it."""
    if this_process().rank > 0:
        time.sleep(PATIENCE)
    say(f"error: {message}")
    raise SystemExit(2) from None
