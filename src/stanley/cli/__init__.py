"""The command line. Nothing here imports torch before a command runs, so that --help answers at once."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from stanley.cli import commands
from stanley.errors import StanleyError

app = App(
    name="stanley",
    help="Train energy-based models with MCMC, sample them, and judge them.",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
for command in (
    commands.train,
    commands.sample,
    commands.diagnose,
    commands.evaluate,
    commands.plot,
    commands.recipes,
    commands.targets,
    commands.demo,
):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exit code 0, 2 for a request that cannot be carried out, 130 after Ctrl-C."""
    warnings.showwarning = lambda message, *_, **__: print(f"stanley: warning: {message}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console or pipe that lacks γ or ‖ shows ? in its place
            stream.reconfigure(errors="replace")
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        stop(" ".join(str(error).split()))
    except StanleyError as error:
        stop(str(error))
    except KeyboardInterrupt as interrupt:
        print(f"stanley: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        raise SystemExit(130) from None
    except (MemoryError, RuntimeError) as error:  # torch reports what it cannot allocate as a RuntimeError
        if not out_of_memory(error):
            raise
        told = " ".join(str(error).split())[:200]
        stop(f"out of memory ({told}); lower batch, bank_size, network.width, --num, or the size of the data")
    except BrokenPipeError:  # the reader of a pipe went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def out_of_memory(error: Exception) -> bool:
    words = ("can't allocate memory", "Storage size calculation overflowed", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def stop(message: str) -> None:
    print(f"stanley: error: {message}", file=sys.stderr)
    raise SystemExit(2) from None
