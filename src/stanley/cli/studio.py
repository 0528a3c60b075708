"""stanley studio: the folder's runs, comparisons and a playground in the browser."""

from __future__ import annotations

import importlib.util
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from cyclopts import Parameter

from stanley.cli.flags import LogDensity, Shape, Whole
from stanley.cli.output import say, show
from stanley.errors import StanleyError, require

if TYPE_CHECKING:
    from uvicorn import Server

    from stanley.studio.stage import Stage

#: What the extra `studio` brings along.
PACKAGES = ("starlette", "uvicorn", "websockets", "plotly")
#: By which a machine reaches itself alone.
HERE = ("127.0.0.1", "localhost", "::1")
#: Seconds that pages which are still open have to end, once the studio is stopped.
PATIENCE = 2


def studio(
    folder: Annotated[
        Path | None,
        Parameter(
            help="Folder with runs and comparisons. Given a run or a comparison itself, the studio "
            "shows the folder around it and begins at its page. [default: the current folder]"
        ),
    ] = None,
    *,
    port: Annotated[Whole, Parameter(help="Port to listen on; 0 takes one that is free.")] = 8765,
    host: Annotated[
        str,
        Parameter(
            help="Address to listen on. Any but 127.0.0.1 lets other machines in, by their token."
        ),
    ] = "127.0.0.1",
    data: Annotated[
        Path | None,
        Parameter(help="Folder besides FOLDER in which data of trainings may lie."),
    ] = None,
    target: Annotated[
        str | None,
        Parameter(
            help="Density of your own for the playground, module:function or file.py:function, "
            "imported because you name it here."
        ),
    ] = None,
    shape: Shape = None,
    log_density: LogDensity = None,
    open_: Annotated[
        bool, Parameter(name="--open", help="Also open the address in a browser.")
    ] = False,
) -> None:
    """Show the runs and comparisons of a folder in the browser, live, and train, draw and play
    there.

    Prints an address with a token, which is all that lets a browser in. Ctrl-C ends it; trainings
    that were started in the page are then stopped as by Ctrl-C, with a checkpoint.
    """
    require_packages()
    require(0 <= port < 65536, f"--port is {port}, but must be between 0 and 65535")
    folder = Path() if folder is None else folder
    require(folder.is_dir(), f"{folder}: no such folder; give one with runs, or an empty one")
    folder, page = shown(folder.resolve())
    own = own_density(target, shape, log_density)
    with bound(host, port) as listening, suppress(KeyboardInterrupt):
        token = secrets.token_urlsafe(24)
        server = served(folder, token, host, data, own)
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listening.getsockname()[1]}/{page}token={token}"
        if host not in HERE:
            say(
                f"warning: --host {host} lets other machines in, and what they send is not "
                "encrypted; over ssh -L the studio can stay on 127.0.0.1"
            )
        # from now on Ctrl-C is the usual end, also in the midst of what the server still imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
        lines = [address, f"It shows {folder}. Open it in a browser. Ctrl-C ends the studio."]
        show({"address": address}, json_=False, lines=lines)
        if open_:
            import webbrowser

            webbrowser.open(address)
        server.run(sockets=[listening])  # which raises KeyboardInterrupt once all is closed
    say("the studio has ended")


def shown(folder: Path) -> tuple[Path, str]:
    """The folder that is shown, and the page that is opened with what its token is added to: of a
    run or a comparison itself its page, in the folder that holds it.
    """
    from stanley.studio.listing import kind_of_folder

    kind = kind_of_folder({path.name for path in folder.iterdir()})
    if kind is None or folder == folder.parent:
        return folder, "?"
    return folder.parent, f"{kind}?name={quote(folder.name)}&"


def own_density(target: str | None, shape: str | None, log_density: bool | None) -> Stage | None:
    """The density that --target names, imported now, so that what is wrong with it is told here."""
    from stanley.cli.what_to_sample import shape_of
    from stanley.studio.stage import of_density

    if target is None:
        given = {"--shape": shape, "--log-density": log_density}
        unused = next((flag for flag, value in given.items() if value is not None), None)
        require(unused is None, f"{unused} says something of --target, which is not given")
        return None
    require(
        ":" in target,
        f"--target is {target!r}, but must be module:function or file.py:function; the densities "
        "of the library are in the playground anyway",
    )
    return of_density(target, shape=shape_of(shape), log_density=bool(log_density))


def require_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    require(
        not missing,
        f"stanley studio needs {', '.join(missing)}: pip install 'stanley[studio]'",
    )


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises StanleyError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # so that an address can be opened as soon as it is printed
    except (OSError, OverflowError, UnicodeError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise StanleyError(
            f"cannot listen on {host} port {port}: {why}; another --port, or --port 0 for one "
            "that is free"
        ) from error
    return listening


def served(folder: Path, token: str, host: str, data: Path | None, target: Stage | None) -> Server:
    """What answers to requests once it is given a socket."""
    import uvicorn

    from stanley.cli.values import parse_fields
    from stanley.studio import application
    from stanley.studio.studio import LOOPBACK

    hosts = LOOPBACK if host in HERE else None
    config = uvicorn.Config(
        application(folder, token, read=parse_fields, hosts=hosts, data=data, target=target),
        log_level="error",
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=4 << 20,
        ws_per_message_deflate=False,  # positions of chains are noise, which does not shrink
        lifespan="on",
        timeout_graceful_shutdown=PATIENCE,
        server_header=False,
    )
    return uvicorn.Server(config)
