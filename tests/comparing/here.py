"""An engine that needs no other process."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any


class Here:
    """Workers that do the work at once, in this process."""

    at_once = 1

    def submit(self, function: Any, argument: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(argument))
        except BaseException as error:
            future.set_exception(error)
        return future
