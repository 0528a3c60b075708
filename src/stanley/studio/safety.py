"""Who may ask, and for how much: token, names of this machine, origin, size of what is sent.

The studio can start trainings and read every run of its folder, so each request has to show the
token that was printed where it was started, as Jupyter wants it. The other checks keep a page of
another site, which a browser may open at the same time, from using the browser's own access.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stanley.studio.studio import Studio

MEGABYTE = 1 << 20
#: Bytes of one request: a photograph fits, a film does not.
LARGEST = 16 * MEGABYTE

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
READING = ("GET", "HEAD")


class TooLarge(Exception):
    """A request has more bytes than are read."""


class Guard:
    """The application behind its checks, for pages and for sockets."""

    def __init__(self, app: ASGIApp, studio: Studio) -> None:
        self.app, self.studio = app, studio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if (refusal := self.refusal(scope)) is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
            else:
                await refusal(scope, receive, with_headers(send))
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, at_most(LARGEST, receive), with_headers(send))
        except TooLarge:
            await too_large()(scope, receive, with_headers(send))

    def refused(self, headers: Headers, why: str, *, ask: bool = False) -> Response:
        """A page for a person, which may ask for the token, and a line for a script."""
        if "text/html" in headers.get("accept", ""):
            return self.studio.page("refused.html", 403, why=why, ask=ask)
        return PlainTextResponse(f"refused: {why}\n", 403)

    def refusal(self, scope: Scope) -> Response | None:
        """What is answered to a request that is not carried out; None where it is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self.studio.hosts is not None and name not in self.studio.hosts:
            return self.refused(
                headers,
                f"this studio is not called {name!r}; open the address that it printed, or start "
                "it with --host",
            )
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in READING
        if (changes or origin is not None) and not same_origin(origin, host):
            return self.refused(headers, "the request is from a page of another site")
        if int_of(headers.get("content-length")) > LARGEST:
            return too_large()
        return self.without_token(scope, headers)

    def without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """None for a request with the token's cookie. With the token in its address a page is asked
        for again, without it there and with the cookie.
        """
        fields = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = fields.pop("token", [""])[-1]
        if self.is_token(given):
            if scope["type"] == "websocket" or scope["method"] not in READING:
                return None
            rest = urlencode(fields, doseq=True)
            again = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            again.set_cookie(
                cookie_name(headers), self.studio.token, httponly=True, samesite="strict"
            )
            return again
        if self.is_token(cookie_of(headers)):
            return None
        why = "open the address that stanley studio printed, with its token"
        return self.refused(headers, why, ask=True)

    def is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.studio.token.encode())


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a page of this address is one of this studio."""
    if origin is None:
        return False
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc == host and host != ""


def cookie_name(headers: Headers) -> str:
    """Cookies do not know ports, and two studios may run on one machine."""
    return f"stanley-studio-{headers.get('host', '').rpartition(':')[2]}"


def cookie_of(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie_name(headers))
    except CookieError:
        return ""
    return "" if found is None else found.value


def int_of(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def too_large() -> Response:
    return PlainTextResponse(f"the request has more than {LARGEST // MEGABYTE} MiB\n", 413)


def at_most(largest: int, receive: Receive) -> Receive:
    """`receive`, which raises TooLarge once the body has more bytes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > largest:
            raise TooLarge
        return message

    return counted


def with_headers(send: Send) -> Send:
    """`send`, with what the browser shall not do with a page of ours."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
