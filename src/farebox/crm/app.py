"""The ASGI application: accounts server under /oauth, the API under /crm/{version} and /bigin/{version}.

Calls run to their end in the event loop, one after the other: a list of 200 takes a few milliseconds, and SQLite
takes one writer at a time anyhow. What takes long is a job of a background worker, or awaits; what may read through
a whole module (search, COQL, counts, views) is read in threads beside the loop.
Every answer is in Zoho's envelope, also for what went wrong.
"""

import inspect
import logging
from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from farebox.crm import bodies, oauth, openapi, tokens
from farebox.crm.call import Answer, Incoming
from farebox.crm.engine import Engine
from farebox.crm.errors import (
    ApiError,
    authentication_failed,
    invalid_url_pattern,
)
from farebox.crm.oauth import OauthError
from farebox.crm.request_log import RequestLog
from farebox.crm.settings import Settings
from farebox.crm.store import Store
from farebox.crm.working import make_workers

logger = logging.getLogger("farebox.crm")

CONTENT_TYPE = "application/json;charset=utf-8"
AUTH_SCHEMES = frozenset({"zoho-oauthtoken", "bearer"})


def create_app(store: Store, settings: Settings, request_log: RequestLog | None = None) -> ASGIApp:
    """The application over a store, with the workers that go on beside its calls while it runs.

    An official SDK compares api_domain with Zoho's data centres and moves there when it is one of
    them, so `public_url` has to be the address under which clients reach this API.
    """
    return _App(Engine(store, settings, make_workers(store, settings)), request_log)


class _App:
    def __init__(self, engine: Engine, request_log: RequestLog | None) -> None:
        self._request_log = request_log
        self._engine = engine
        self._store = engine.store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: HTTP and the lifespan, during which the workers run."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the CRM API speaks HTTP, not {scope['type']}")
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        if self._request_log is not None and not scope["path"].startswith("/oauth/"):
            self._log(self._request_log, request, response.status_code)
        await response(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._engine.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                self._engine.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _respond(self, request: Request) -> Response:
        try:
            if request.scope["path"].startswith("/oauth/"):
                return await self._respond_oauth(request)
            if request.scope["path"] == "/openapi.json" and request.method in ("GET", "HEAD"):
                return _json(openapi.document(self._engine.settings.public_url))
            return _response(await self._answer(request), head=request.method == "HEAD")
        except ApiError as refusal:
            return _refused(refusal)
        except (HTTPException, MultiPartException) as error:
            # Starlette's words for a form it cannot parse
            return _refused(ApiError(400, "INVALID_REQUEST", str(error)))
        except ClientDisconnect:
            raise
        except Exception:
            # one broken call must not end the others; the log has the whole story
            logger.exception("%s %s failed", request.method, request.scope["path"])
            return _refused(ApiError(500, "INTERNAL_ERROR", "Internal server error occurred."))

    def _log(self, log: RequestLog, request: Request, status: int) -> None:
        log.write(
            at=self._store.now(),
            zgid=getattr(request.state, "zgid", None),
            method=request.method,
            path=request.scope["path"],
            query=request.scope["query_string"].decode("latin-1"),
            status=status,
            body=getattr(request.state, "body", b""),
        )

    async def _answer(self, request: Request) -> Answer:
        route = self._engine.route_of(request.method, request.scope["path"])
        with self._store.reading() as db:
            grant = self._engine.grant_of(db, _access_token(request))
        request.state.zgid = grant.zgid
        async with bodies.reading(request, route) as (body, uploads):
            request.state.body = body
            incoming = Incoming(
                method=request.method,
                path=request.scope["path"],
                params=dict(request.query_params),
                headers=request.headers,
                body=body,
                uploads=uploads,
            )
            answer = self._engine.answer(incoming, grant)
            return await answer if inspect.isawaitable(answer) else answer

    async def _respond_oauth(self, request: Request) -> Response:
        path = request.scope["path"]
        if path == "/oauth/v2/auth":
            return self._authorize(dict(request.query_params))
        if path not in ("/oauth/v2/token", "/oauth/v2/token/revoke", "/oauth/v2/introspect"):
            raise invalid_url_pattern()
        if request.method != "POST":
            details = {"allowed_methods": ["POST"]}
            message = "The http request method type is not a valid one"
            raise ApiError(405, "INVALID_REQUEST_METHOD", message, details, {"allow": "POST"})
        params = await bodies.parameters(request)
        if path == "/oauth/v2/introspect":
            return self._introspect(params, request.headers.get("authorization"))
        if path == "/oauth/v2/token/revoke":
            known = tokens.revoke(self._store, params.get("token", ""))
            return _json({"status": "success"} if known else {"error": "invalid_token"})
        try:
            settings = self._engine.settings
            return _json(oauth.token(self._store, params, api_domain=settings.public_url, limits=settings.token_limits))
        except OauthError as refused:
            return _json(refused.payload(), status=refused.status)

    def _authorize(self, params: Mapping[str, str]) -> Response:
        try:
            limits = self._engine.settings.token_limits
            return RedirectResponse(oauth.authorize(self._store, params, limits=limits), status_code=302)
        except OauthError as refused:
            return _json(refused.payload(), status=400)

    def _introspect(self, params: Mapping[str, str], authorization: str | None) -> Response:
        answer = oauth.introspect(self._store, params, authorization=authorization)
        if answer is None:
            # RFC 6749 5.2
            return _json({"error": "invalid_client"}, status=401, headers={"www-authenticate": 'Basic realm="oauth"'})
        return _json(answer, headers={"cache-control": "no-store"})


def _access_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in AUTH_SCHEMES or not token.strip():
        raise authentication_failed()
    return token.strip()


def _refused(refusal: ApiError) -> Response:
    return _json(refusal.envelope(), status=refusal.status, headers=refusal.headers)


def _response(answer: Answer, *, head: bool) -> Response:
    if answer.file is not None:
        if not answer.file.is_file():
            return _refused(ApiError(404, "RESOURCE_NOT_FOUND", "the requested resource does not exist"))
        return FileResponse(
            answer.file,
            status_code=answer.status,
            headers=dict(answer.headers),
            media_type=answer.media_type,
            filename=answer.file_name or None,
        )
    if answer.payload is None:
        return Response(status_code=answer.status, headers=dict(answer.headers))
    response = _json(answer.payload, status=answer.status, headers=answer.headers)
    if head:
        response.body = b""
    return response


def _json(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(payload), status_code=status, headers={"content-type": CONTENT_TYPE, **(headers or {})}
    )
