"""Answer the page's requests: files of the package, the picture, its changes, orders.

An ASGI application of Starlette, imported by ``openha web`` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensvc_openha.errors import OpenhaError, UsageError
from opensvc_openha.hints import Any
from opensvc_openha.live.access import Access, Session, is_same
from opensvc_openha.live.observer import Observer
from opensvc_openha.live.order_desk import OrderDesk
from opensvc_openha.live.picture import picture
from opensvc_openha.system import clock

COOKIE = "openha-session"
GUARD = "x-openha-guard"
_BODY_BYTES = 4096
_REASON = 150
"""Characters of the reason of an order."""
_STREAMS = 32
"""Pages that are kept up to date at a time."""
_TICK_S = 0.25
_REPEAT_S = 1.0
"""Seconds after which a page hears something, changed or not: it reports a longer silence."""
_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_OPEN = frozenset({*_FILES, "/session", "/login"})
"""What a browser gets before it has shown the token: nothing of the cluster is in it."""
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclasses.dataclass(frozen=True)
class Site:
    """What a page shows and may do. ``orders`` is None for one that only reads."""

    observer: Observer
    access: Access
    is_tls: bool
    why: Callable[[str], Mapping[str, Any]]
    cleaned: Callable[[str], str]
    """Applied to each text: removes what not every reader of this page may see."""
    orders: OrderDesk | None
    is_ending: Callable[[], bool]


def build(site: Site) -> ASGIApp:
    """Return the application."""
    page = _Page(site)
    routes = [Route(path, page.file) for path in _FILES]
    routes += [
        Route("/session", page.session),
        Route("/login", page.login, methods=["POST"]),
        Route("/logout", page.logout, methods=["POST"]),
        Route("/picture", page.picture),
        Route("/events", page.events),
        Route("/why", page.why),
        Route("/orders", page.ask, methods=["POST"]),
        Route("/orders/confirm", page.confirm, methods=["POST"]),
    ]
    return _Gate(Starlette(routes=routes), site)


def to_plain(value: Any, cleaned: Callable[[str], str]) -> Any:
    """Return a value of dataclasses as JSON has it, each text cleaned."""
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name), cleaned)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item, cleaned) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, cleaned) for item in value]
    return value


class _Gate:
    """Refuse foreign hosts and those without the token; give every answer its headers."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                headers += [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
                if self._site.is_tls:
                    headers.append((b"strict-transport-security", b"max-age=31536000"))
                message = {**message, "headers": headers}
            await send(message)

        answer = self._refusal(Request(scope))
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        access, now = self._site.access, clock.monotonic()
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not access.is_host(hosts[0]):
            return _error(421, "this server has another name: see openha web --help, --name")
        if request.method not in ("GET", "POST"):
            return _error(405, "only GET and POST")
        if not access.needs_token or request.scope["path"] in _OPEN:
            return None
        if access.session(request.cookies.get(COOKIE, ""), now) is not None:
            return None
        given = request.headers.get("authorization", "")
        # A program's way in; what changes something takes a session and its guard.
        if request.method == "GET" and given.lower().startswith("bearer "):
            address = _address(request)
            if access.is_refused(address, now):
                return _error(429, "too many wrong tokens: wait a minute")
            if access.is_token(given[7:].strip(), address, now):
                return None
        return _error(401, "a token is needed")


class _Page:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = {path: (_read(name), kind) for path, (name, kind) in _FILES.items()}
        self._streams = 0
        self._made: tuple[float, str] = (-1.0, "")

    async def file(self, request: Request) -> Response:
        """Return a file of the package."""
        body, kind = self._files[request.scope["path"]]
        return Response(body, media_type=None, headers={"content-type": kind})

    async def session(self, request: Request) -> Response:
        """Return what this browser may do.

        The guard of orders is in the answer to the token alone: a cookie goes to any server of this
        host, whatever its port.
        """
        found = self._session(request)
        return JSONResponse(
            {
                "needs_token": self._site.access.needs_token,
                "is_in": found is not None or not self._site.access.needs_token,
                "may_order": self._site.orders is not None and found is not None,
            }
        )

    async def login(self, request: Request) -> Response:
        """Begin a session for who has the token."""
        access, now = self._site.access, clock.monotonic()
        address = _address(request)
        if not access.needs_token:
            return _error(404, "this page has no token")
        try:
            _expect_own(request, self._site.is_tls)
            given = (await _body(request)).get("token")
        except UsageError as error:
            return _error(400, str(error))
        if access.is_refused(address, now):
            return _error(429, "too many wrong tokens: wait a minute")
        if not isinstance(given, str) or not access.is_token(given.strip(), address, now):
            return _error(401, "this is not the token")
        secret = access.begin_session(now)
        begun = access.session(secret, now)
        answer = JSONResponse({"is_in": True, "guard": begun.guard if begun else ""})
        answer.set_cookie(
            COOKIE,
            secret,
            httponly=True,
            samesite="strict",
            secure=self._site.is_tls,
            path="/",
        )
        return answer

    async def logout(self, request: Request) -> Response:
        """End the session."""
        try:
            _expect_own(request, self._site.is_tls)
        except UsageError as error:
            return _error(400, str(error))
        self._site.access.end_session(request.cookies.get(COOKIE, ""))
        answer = JSONResponse({"is_in": False})
        answer.delete_cookie(COOKIE, path="/")
        return answer

    async def picture(self, request: Request) -> Response:
        """Return what is shown now."""
        return Response(self._picture(), media_type="application/json")

    async def events(self, request: Request) -> Response:
        """Stream what is shown, each time that it changes, at least once a second."""
        if self._streams >= _STREAMS:
            return _error(503, f"{_STREAMS} pages are open already")
        secret = request.cookies.get(COOKIE, "")
        return StreamingResponse(
            self._changes(secret),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    async def _changes(self, secret: str) -> AsyncIterator[str]:
        self._streams += 1
        try:
            yield "retry: 1000\n\n"
            version, sent_at = -1, 0.0
            access = self._site.access
            while not self._site.is_ending():
                now = clock.monotonic()
                if secret and access.needs_token and access.session(secret, now) is None:
                    return
                newest = self._site.observer.seen().version
                if newest != version or now >= sent_at + _REPEAT_S:
                    version, sent_at = newest, now
                    yield f"data: {self._picture()}\n\n"
                await asyncio.sleep(_TICK_S)
        finally:
            self._streams -= 1

    def _picture(self) -> str:
        """Return the picture as JSON, made once for all pages that ask at about the same time."""
        now = clock.monotonic()
        if now >= self._made[0] + _TICK_S / 2:
            orders = self._site.orders
            made = picture(self._site.observer.seen(), clock.wall(), now, orders is not None)
            jobs = orders.jobs() if orders is not None else ()
            plain = {
                **to_plain(made, self._site.cleaned),
                "orders": [
                    {**to_plain(job, self._site.cleaned), "stamp": clock.stamp(job.at)}
                    for job in jobs
                ],
            }
            self._made = now, json.dumps(plain, separators=(",", ":"))
        return self._made[1]

    async def why(self, request: Request) -> Response:
        """Return why a service is in its state."""
        service = request.query_params.get("service", "")[:200]
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self._why, service)
        except OpenhaError as error:
            return _error(404, self._site.cleaned(str(error)))
        return JSONResponse(to_plain(found, self._site.cleaned))

    def _why(self, service: str) -> Mapping[str, Any]:
        return self._site.why(service)

    async def ask(self, request: Request) -> Response:
        """Take the first step of an order: return what would happen."""
        try:
            desk, session, body = await self._order(request)
            question = await asyncio.get_running_loop().run_in_executor(
                None, desk.ask, session.guard, _text(body, "order"), _text(body, "service")
            )
        except UsageError as error:
            return _error(400, str(error))
        except OpenhaError as error:
            return _error(409, str(error))
        return JSONResponse(
            {
                "number": question.number,
                "order": question.order.value,
                "service": question.service,
                "node": question.node,
                "text": question.text,
            }
        )

    async def confirm(self, request: Request) -> Response:
        """Take the second step: the order runs."""
        try:
            desk, session, body = await self._order(request)
            number, service, node = (_text(body, key) for key in ("number", "service", "node"))
            job = await asyncio.get_running_loop().run_in_executor(
                None,
                desk.confirm,
                session.guard,
                number,
                service,
                node,
                _address(request),
                _text(body, "reason")[:_REASON],
            )
        except UsageError as error:
            return _error(400, str(error))
        except OpenhaError as error:
            return _error(409, str(error))
        return JSONResponse({"state": job.state}, status_code=202)

    async def _order(self, request: Request) -> tuple[OrderDesk, Session, dict[str, Any]]:
        """Return what an order needs; UsageError for a request that no page of ours has sent."""
        session = self._session(request)
        if self._site.orders is None or session is None:
            raise UsageError("this page takes no orders: see openha web --help, --allow-orders")
        _expect_own(request, self._site.is_tls)
        if not is_same(request.headers.get(GUARD, ""), session.guard):
            raise UsageError("the order was not given on this page: load it again")
        return self._site.orders, session, await _body(request)

    def _session(self, request: Request) -> Session | None:
        return self._site.access.session(request.cookies.get(COOKIE, ""), clock.monotonic())


def _expect_own(request: Request, is_tls: bool) -> None:
    """Raise UsageError for a request that another site's page has sent."""
    own = f"{'https' if is_tls else 'http'}://{request.headers.get('host', '')}"
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if (origin is not None and origin != own) or site not in ("same-origin", "none"):
        raise UsageError("the request comes from a page of another site")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UsageError("expected application/json")


async def _body(request: Request) -> dict[str, Any]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _BODY_BYTES:
            raise UsageError(f"longer than {_BODY_BYTES} bytes")
    found: object = None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(body)
    if not isinstance(found, dict):
        raise UsageError("expected a JSON object")
    return found


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise UsageError(f"expected a text: {key}")
    return value


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _error(code: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=code)


def _read(name: str) -> bytes:
    with open(os.path.join(_PAGE, name), "rb") as file:
        return file.read()
