"""The playground: a density, samplers side by side, chains that move.

A socket is one playground. The page sends JSON objects, {"do": …}:

    watch   {"play": …} begins anew with other wishes, the fields of `Play`
    run, pause, step, reset
    speed   {"steps": n, "frames": f}: n steps of each sampler between two frames, at most f frames
            a second
    drawn   {"frame": n}: the page has drawn it, and can take another

and is told {"hello": …} once, {"scene": …} for each playground that begins, {"numbers": …} a few
times a second, {"error": line, "panel": number or null}, and frames in bytes (`playing.py`). A page
that does not say that it has drawn gets no frame, and costs nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from stanley.config import kind_of
from stanley.errors import StanleyError, in_one_line, require
from stanley.studio.as_python import as_python, written
from stanley.studio.densities import Densities
from stanley.studio.playing import MOST_CHAINS, MOST_PANELS, Play, SamplerError, Scene, play_of
from stanley.studio.sampler_fields import sampler_fields
from stanley.studio.studio import Studio

MOST_OPEN = 8  # playgrounds at the same time
IN_FLIGHT = 2  # frames that the page has not drawn yet
SECONDS = 0.25  # of one frame's steps, after which a frame is sent with fewer of them
TOLD_EVERY = 0.4  # seconds between numbers
MOST_STEPS, MOST_FRAMES = 100, 60
LONGEST = 20_000  # characters of a message


def routes(studio: Studio) -> list[BaseRoute]:
    densities, playing = Densities(studio), set[Playground]()

    async def page(request: Request) -> Response:
        return studio.page("playground.html", chains=MOST_CHAINS, panels=MOST_PANELS)

    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        playground = Playground(connection, densities)
        if len(playing) >= MOST_OPEN:
            line = f"{MOST_OPEN} playgrounds are open already; close one of them"
            await connection.send_text(json.dumps({"error": line, "panel": None}))
            await connection.close(1013)
            return
        playing.add(playground)
        try:
            await playground.play()
        finally:
            playing.remove(playground)

    return [Route("/playground", page), WebSocketRoute("/playground/socket", socket)]


class Playground:
    """What one page watches."""

    def __init__(self, socket: WebSocket, densities: Densities) -> None:
        self.socket, self.densities = socket, densities
        self.wishes: asyncio.Queue[str | None] = asyncio.Queue(100)
        self.scene: Scene | None = None
        self.running = False
        self.steps, self.seconds = 1, 1 / MOST_FRAMES  # of a frame
        self.sent = self.drawn = 0  # frames
        self.next_frame = self.next_numbers = 0.0

    async def play(self) -> None:
        """Do what the page asks until it is closed."""
        listening = asyncio.create_task(self.listen())
        try:
            await self.say(hello=await asyncio.to_thread(self.hello))
            while True:
                wait = self.until_next_frame()
                try:
                    wish = await self.next_wish(wait)
                except TimeoutError:
                    await self.trying(self.move())
                    continue
                if wish is None:
                    return
                await self.trying(self.obey(wish))
        except (WebSocketDisconnect, RuntimeError):  # closed while something was sent
            return
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def listen(self) -> None:
        """Queue what the page says; None at its end, in the place of all that it said before."""
        with suppress(WebSocketDisconnect, RuntimeError):
            while (message := await self.socket.receive())["type"] == "websocket.receive":
                await self.wishes.put(message.get("text") or "")
        while not self.wishes.empty():
            self.wishes.get_nowait()
        self.wishes.put_nowait(None)

    async def next_wish(self, wait: float | None) -> str | None:
        """Raises TimeoutError where there is none for so many seconds."""
        if not self.wishes.empty():
            return self.wishes.get_nowait()
        if wait == 0:
            await asyncio.sleep(0)  # so that others have their turn
            raise TimeoutError
        try:
            return await asyncio.wait_for(self.wishes.get(), wait)
        except asyncio.TimeoutError:  # another class before Python 3.11
            raise TimeoutError from None

    def until_next_frame(self) -> float | None:
        """Seconds, None where no frame is wanted."""
        if self.scene is None or not self.running:
            return None
        if self.sent - self.drawn >= IN_FLIGHT:
            return None
        return max(0.0, self.next_frame - time.perf_counter())

    async def trying(self, doing: Any) -> None:
        """Whatever goes wrong is told in one line, and the chains stand still."""
        try:
            await doing
        except SamplerError as error:
            self.running = False
            await self.say(error=str(error), panel=error.panel)
        except StanleyError as error:
            self.running = False
            await self.say(error=str(error), panel=None)
        except (WebSocketDisconnect, RuntimeError):
            raise
        except Exception as error:  # of torch, of a user's own code
            self.running = False
            await self.say(error=in_one_line(error), panel=None)

    async def obey(self, wish: str) -> None:
        asked = read(wish)
        do = asked.get("do")
        if do == "drawn":
            self.drawn = whole(asked, "frame", 0, 2**32)
        elif do == "watch":
            await self.watch(asked.get("play"))
        elif do == "speed":
            self.steps = whole(asked, "steps", 1, MOST_STEPS)
            self.seconds = 1 / real(asked, "frames", 0.2, MOST_FRAMES)
        elif do == "pause":
            self.running = False
            await self.tell()
        elif do in ("run", "step", "reset"):
            scene = self.scene
            if scene is None:
                raise StanleyError("nothing is watched yet; ask to watch something")
            self.running = do == "run"
            if do == "reset":
                await asyncio.to_thread(scene.begin)
                await self.show()
                await self.tell()
            if do == "step":
                await self.move()
                await self.tell()
        else:
            raise StanleyError(
                f"do is {do!r}, but must be watch, run, pause, step, reset, speed or drawn"
            )

    async def watch(self, play: Any) -> None:
        """Begin anew; what was watched before stays where this is not possible."""
        require(isinstance(play, dict), "play is missing; give its fields")
        scene = await asyncio.to_thread(self.made, play_of(play))
        self.scene = scene
        await self.say(scene=await asyncio.to_thread(described, scene))
        await self.show()
        await self.tell()

    def made(self, play: Play) -> Scene:
        return Scene(play, self.densities.stage(play.density))

    async def move(self) -> None:
        """Some steps, the frame after them, and now and then what is told of it."""
        assert self.scene is not None
        self.next_frame = max(self.next_frame + self.seconds, time.perf_counter())
        await asyncio.to_thread(self.scene.advance, self.steps, SECONDS)
        await self.show()
        if time.perf_counter() >= self.next_numbers:
            await self.tell()

    async def show(self) -> None:
        assert self.scene is not None
        self.sent += 1
        await self.socket.send_bytes(self.scene.frame(self.sent))

    async def tell(self) -> None:
        if self.scene is not None:
            await self.say(numbers=await asyncio.to_thread(self.scene.numbers))
            self.next_numbers = time.perf_counter() + TOLD_EVERY

    async def say(self, **message: Any) -> None:
        await self.socket.send_text(json.dumps(message, allow_nan=False))

    def hello(self) -> dict[str, Any]:
        """What can be asked for, and what a page shows first."""
        first = Play()
        samplers = [plain(sampler) for sampler in first.samplers]
        return {
            "densities": self.densities.on_offer(),
            "samplers": sampler_fields(),
            "play": asdict(first) | {"samplers": samplers},
        }


def plain(sampler: Any) -> dict[str, Any]:
    return asdict(sampler)


def described(scene: Scene) -> dict[str, Any]:
    """What a page needs once of what is watched."""
    view, stage, play = scene.view, scene.stage, scene.play
    return {
        "density": stage.name,
        "window": view.window,
        "names": [stage.names[k] for k in view.coordinates],
        "coordinates": list(view.coordinates),
        "all_names": list(stage.names),
        "side": len(view.shades),
        "shades": base64.b64encode(view.shades.tobytes()).decode(),
        "marginals": view.marginals.tolist(),
        "note": view.note,
        "source": stage.source,
        "chains": play.chains,
        "can_start_at_a_point": not stage.has_named_parameters,
        "panels": [
            {
                "kind": kind_of(sampler),
                "sampler": written(sampler),
                "python": as_python(play, stage, k),
            }
            for k, sampler in enumerate(play.samplers)
        ],
    }


def read(wish: str) -> dict[str, Any]:
    """A message of the page; raises StanleyError for what is none."""
    require(
        len(wish) <= LONGEST,
        f"a message has {len(wish):,} characters, but may have at most {LONGEST:,}",
    )
    try:
        asked = json.loads(wish)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise StanleyError("a message must be a JSON object with a field do")
    return asked


def whole(asked: dict[str, Any], name: str, low: int, high: int) -> int:
    value = asked.get(name)
    if type(value) is not int or not low <= value <= high:
        raise StanleyError(
            f"{name} is {value!r}, but must be a whole number from {low} to {high:,}"
        )
    return value


def real(asked: dict[str, Any], name: str, low: float, high: float) -> float:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = math.nan
    if not low <= value <= high:  # NaN compares false
        raise StanleyError(
            f"{name} is {asked.get(name)!r}, but must be a number from {low:g} to {high:g}"
        )
    return float(value)
