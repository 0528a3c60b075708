"""Computations beside the pages: one at a time, in a thread, told to the page as they go, stopped
when nobody looks any more.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from stanley.errors import StanleyError, in_one_line

#: Messages that a slow page may be behind; the computation waits for it then.
BEHIND = 4


#: Reads a request and returns what carries it out; raises StanleyError for one that cannot be.
Computation = Callable[[dict[str, Any]], Callable[["Job"], None]]


class Cancelled(Exception):
    """Whoever asked has gone or has asked for something else."""


class Job:
    """What a computation holds on to: `tell` for its page, and whether it shall stop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.messages: asyncio.Queue[bytes | dict[str, Any] | None] = asyncio.Queue()
        self.room = threading.Semaphore(BEHIND)
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()
        self.room.release()

    def check(self) -> None:
        """Raise Cancelled where the job was stopped; called between the parts of a computation."""
        if self.stopped.is_set():
            raise Cancelled

    def tell(self, message: bytes | dict[str, Any]) -> None:
        """Send a message, a binary frame or plain values; waits where the page is behind."""
        self.room.acquire()
        self.check()
        self.loop.call_soon_threadsafe(self.messages.put_nowait, message)

    async def told(self) -> AsyncIterator[bytes | dict[str, Any]]:
        while (message := await self.messages.get()) is not None:
            yield message
            self.room.release()


class Worker:
    """One thread in which computations wait for each other."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "studio")

    def start(self, compute: Callable[[Job], None]) -> Job:
        """Queue a computation; its errors are told as its last message, {"error": line}."""
        job = Job(asyncio.get_running_loop())

        def carry_out() -> None:
            try:
                job.check()
                compute(job)
            except Cancelled:
                pass
            except Exception as error:  # of the library, of torch, of a user's own code
                said = str(error) if isinstance(error, StanleyError) else in_one_line(error)
                with suppress(Cancelled):
                    job.tell({"error": said})
            finally:
                job.loop.call_soon_threadsafe(job.messages.put_nowait, None)

        self.thread.submit(carry_out)
        return job

    def close(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)


async def answer(
    socket: WebSocket,
    worker: Worker,
    computation: Callable[[dict[str, Any]], Callable[[Job], None]],
) -> None:
    """Carry out what the page asks for over a socket, a JSON object for each request.

    A new request, {"do": "stop"}, or the end of the connection stops the one before. Each ends with
    {"done": true}, or with {"error": line}.
    """
    await socket.accept()
    job: Job | None = None
    sending: asyncio.Task[None] | None = None

    async def send(job: Job) -> None:
        failed = False
        async for message in job.told():
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                failed = "error" in message
                await socket.send_text(json.dumps(message))
        if not failed and not job.stopped.is_set():
            await socket.send_text('{"done": true}')

    try:
        while True:
            asked = await socket.receive_json()
            if job is not None and sending is not None:
                job.stop()
                await sending
            job = sending = None
            try:
                if not isinstance(asked, dict):
                    raise StanleyError("a request is a JSON object")
                if asked.get("do") == "stop":
                    await socket.send_text('{"done": true}')
                    continue
                job = worker.start(computation(asked))
            except StanleyError as error:
                await socket.send_text(json.dumps({"error": str(error)}))
                continue
            sending = asyncio.create_task(send(job))
    except (WebSocketDisconnect, RuntimeError, ValueError, KeyError):  # gone, or not JSON
        pass
    finally:
        if job is not None:
            job.stop()
        if sending is not None:
            sending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await sending
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.close()
