"""Who calls: from a request's credentials to an org, a user and an app, or a refusal that says what is missing.

Farebox keys are looked up in memory; access tokens are asked about (RFC 7662, or at the API itself); some places have
one org fixed. A credential of ours never reaches an upstream: the org's own credential for it takes its place.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

from farebox.domain.identity import Account
from farebox.domain.names import clean
from farebox.gateway.concurrency import Concurrency
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.proxies import TrustedProxies, neighbourhood
from farebox.gateway.refuse import Refusal
from farebox.gateway.tokens import Claims, Inactive, TokenBook, Told, unavailable
from farebox.quota.directory_image import DirectoryImage

KEY_PREFIX: Final = b"fbx_"
CALLERS_MAX: Final = 100_000
"""Callers remembered per upstream; beyond, all are looked up afresh."""

NEVER: Final = float("inf")
"""Keys do not expire: they are revoked, which makes a new image."""

_KEY_OF_OURS: Final = re.compile(rb"(?<![A-Za-z0-9._~+/-])fbx_[^\s;\"']*")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_TOKEN_SCHEMES: Final = (b"bearer ", b"zoho-oauthtoken ")


class Caller:
    """Who calls, and on whose accounts: one object per credential, shared by its calls."""

    __slots__ = ("_accounts", "app", "authorization", "concurrency", "org", "product", "replaces", "shadow", "user")

    def __init__(  # one argument per thing a call is charged by
        self,
        *,
        org: str,
        user: str,
        app: str,
        product: str,
        authorization: bytes,
        replaces: bool,
        concurrency: Concurrency | None,
        shadow: bool = False,
    ) -> None:
        self.org = org
        self.user = user
        self.app = app
        self.product = product
        self.authorization = authorization
        """What an upstream gets instead of a key of ours; empty: nothing."""
        self.replaces = replaces
        """Whether the caller's Authorization is a key of ours, or there is none: never forwarded."""
        self.shadow = shadow
        """Whether the org is in shadow mode: its calls are judged and never refused for want of credits."""
        self.concurrency = concurrency
        """What holds back calls beyond so many in flight; None: nothing does."""
        self._accounts: dict[str, Account] = {}

    def account(self, pool: str) -> Account:
        """The account that pays for calls on `pool`."""
        account = self._accounts.get(pool)
        if account is None:
            account = self._accounts[pool] = Account(self.org, self.product, pool)
        return account


Identified = Caller | Refusal


class Identifier:
    """Identifies the callers of one upstream. `directory` gives the image in force.

    `asks_for`: the org that asking about a token costs something; nothing is asked while it may not call.
    """

    def __init__(
        self,
        *,
        upstream: str,
        product: str,
        directory: Callable[[], DirectoryImage],
        concurrency: Callable[[DirectoryImage, str, str], Concurrency | None],
        fixed: tuple[str, str] | None = None,
        tokens: TokenBook | None = None,
        asks_for: str = "",
        proxies: TrustedProxies,
    ) -> None:
        self._upstream = upstream
        self._product = product
        self._directory = directory
        self._concurrency = concurrency
        self._fixed = fixed
        self._tokens = self.tokens = tokens
        self._asks_for = asks_for
        self._proxies = proxies
        self._image: DirectoryImage | None = None
        self._callers: dict[tuple[str | bytes, ...] | bytes, Identified] = {}

    def identify(self, head: RequestHead, peer: str = "") -> Identified | asyncio.Future[Identified]:
        """The caller, a refusal, or a future of either while a token is asked about. `peer`: whose connection it is."""
        image = self._directory()
        if image is not self._image or len(self._callers) >= CALLERS_MAX:
            self._image = image
            self._callers.clear()
        known, tokens = head.known, self._tokens
        if known is not None and known.identifier is self and known.image is image and known.caller is not None:
            if tokens is None:
                return known.caller
            if tokens.now() < known.until:
                tokens.hits += 1
                return known.caller
        keys, token = _credentials(head, keys_only=self._tokens is None and self._fixed is None)
        if tokens is not None and token is not None:
            return self._by_token(head, image, keys, token, tokens, peer=peer)
        if len(keys) == 1 and self._fixed is None:  # nearly every call of a key upstream: one digest, one look-up
            digest = sha256(keys[0]).digest()
            who = self._callers.get(digest)
            if who is None or token is not None:
                who = self._by_keys(image, keys, None, replaces=token is None)
                if isinstance(who, Caller) and token is None:
                    self._callers[digest] = who
            if tokens is None and token is None:
                self._remember(head, who, image, until=NEVER)
            return who
        replaces = token is None
        known_place = self._fixed is not None and not keys
        return (
            self._fixed_caller(head, image, replaces=replaces)
            if known_place
            else self._by_keys(image, keys, None, replaces=replaces)
        )

    def _fixed_caller(self, head: RequestHead, image: DirectoryImage, *, replaces: bool) -> Identified:
        """The one caller of a fixed place, and its twin that sends the upstream credentials of its own."""
        which = ("fixed", "replaces" if replaces else "")
        who = self._callers.get(which)
        if who is None:
            who = self._by_keys(image, [], None, replaces=replaces)
            if isinstance(who, Caller):
                self._callers[which] = who
        if self._tokens is None:
            self._remember(head, who, image, until=NEVER)
        return who

    def _remember(self, head: RequestHead, who: Identified, image: DirectoryImage, *, until: float) -> None:
        """The same credentials again are the same caller, by this image and until then; refusals are looked up anew."""
        known = head.known
        # Where the head was given lines (the upstream's own X-Api-Key), every call's has to be given them.
        if known is not None and isinstance(who, Caller) and head.lines is known.head.lines:
            known.caller, known.identifier, known.image, known.until = who, self, image, until

    def _by_token(
        self, head: RequestHead, image: DirectoryImage, keys: list[bytes], token: bytes, tokens: TokenBook, *, peer: str
    ) -> Identified | asyncio.Future[Identified]:
        if keys and self._asks_for:  # the key says who calls: nothing is paid to find it out
            return self._by_keys(image, keys, Claims(self._asks_for, "", ""), replaces=False)
        digest = sha256(token).digest()
        claims = tokens.known(digest)
        if claims is not None:
            who = self._by_claims(image, keys, claims)
            self._remember(head, who, image, until=tokens.believed_until(digest))
            return who
        if self._asks_for and (refusal := self._standing(image, self._asks_for, "")) is not None:
            return refusal
        identified: asyncio.Future[Identified] = asyncio.get_running_loop().create_future()

        def told(asked: asyncio.Future[Told]) -> None:
            if identified.done():
                return
            answer = asked.result()
            who: Identified
            try:
                who = self._by_claims(self._directory(), keys, answer)
            except Exception as error:  # noqa: BLE001 - reported to the loop; the caller must not wait on
                asked.get_loop().call_exception_handler({"message": "identification failed", "exception": error})
                who = unavailable("what it says cannot be looked up")
            identified.set_result(who)

        address = neighbourhood(self._proxies.client_ip(peer, head.forwarded_for))
        tokens.ask(token, digest, address=address).add_done_callback(told)
        return identified

    def _by_claims(self, image: DirectoryImage, keys: list[bytes], claims: Told) -> Identified:
        if isinstance(claims, Refusal):
            return claims
        if isinstance(claims, Inactive):
            return TOKEN_INACTIVE
        if not keys:
            remembered = self._callers.get(claims.key)
            if remembered is None:
                remembered = self._by_keys(image, keys, claims, replaces=False)
                self._callers[claims.key] = remembered
            return remembered
        return self._by_keys(image, keys, claims, replaces=False)

    def _by_keys(
        self, image: DirectoryImage, keys: list[bytes], claims: Claims | None, *, replaces: bool
    ) -> Identified:
        """Every credential must name the same org; the most specific one names user and app."""
        org = user = app = ""
        if self._fixed is not None:
            org, app = self._fixed
        if claims is not None:
            if org not in ("", claims.org):
                return CREDENTIALS_CONTRADICT
            org, app = claims.org, claims.app
            known = image.user(org, claims.user)
            user = claims.user if known is None else known.id
        for key in keys:
            row = image.key(sha256(key).digest())
            if row is None:
                return KEY_UNKNOWN
            if org not in ("", row.org):
                return CREDENTIALS_CONTRADICT
            org, user, app = row.org, row.user or user, row.app or app
        if not org:
            return TOKEN_MISSING if self._tokens is not None else CREDENTIALS_MISSING
        refusal = self._standing(image, org, user)
        if refusal is not None:
            return refusal
        credential = (image.upstream_credential(org, self._upstream) or "") if replaces else ""
        app = clean(app)
        return Caller(
            org=org,
            user=clean(user),
            app=app,
            product=self._product,
            authorization=credential.encode("latin-1", "ignore"),
            replaces=replaces and bool(keys),
            shadow=image.in_shadow(org),
            concurrency=self._concurrency(image, org, app),
        )

    def _standing(self, image: DirectoryImage, org: str, user: str) -> Refusal | None:
        record = image.org(org)
        if record is None:
            return Refusal(
                status=403,
                code="ORG_UNKNOWN",
                text=f"Org {clean(org)} is not known here. Ask the operator to add it (farebox org add).",
            )
        if record.suspended:
            return Refusal(
                status=403,
                code="ORG_SUSPENDED",
                text="This org is suspended. Ask the operator of this gateway to lift the suspension.",
                details={"org": org},
            )
        member = image.user(org, user)
        if member is not None and not member.active:
            return Refusal(
                status=403,
                code="USER_INACTIVE",
                text="This user is not active in the org. Ask the operator of this gateway to activate it.",
                details={"org": org, "user": user},
            )
        if image.subscription(org, self._product) is None:
            return Refusal(
                status=403,
                code="NO_SUBSCRIPTION",
                text=f"This org has no plan for {self._product}. Ask the operator to add one (farebox org add).",
                details={"org": org, "product": self._product},
            )
        return None


def _credentials(head: RequestHead, *, keys_only: bool) -> tuple[list[bytes], bytes | None]:
    """(keys of ours, the upstream's token) among a request's credentials."""
    keys: list[bytes] = []
    token: bytes | None = None
    authorization = head.authorization
    if authorization is not None:
        key = key_of_ours(authorization)
        if key is not None:
            keys.append(key)
        else:
            token = _token(authorization)
    if head.farebox_key is not None:
        keys.append(head.farebox_key.strip())
    if head.api_key is not None:
        key = key_of_ours(head.api_key)
        if key is not None or keys_only:
            keys.append(key or head.api_key.strip())
        else:  # the upstream's own
            head.lines = [*head.lines, b"X-Api-Key", b": ", head.api_key, b"\r\n"]
    return keys, token


def key_of_ours(credential: bytes) -> bytes | None:
    r"""The Farebox key in an Authorization or X-Api-Key field, which must not leave; None: there is none.

    Whatever the scheme and the space before it: any word of the field that begins with fbx_ is one, also as the user
    or the password of Basic (RFC 7617), which is where tools put a key that ask for nothing else.

    >>> key_of_ours(b"Zoho-oauthtoken\t fbx_abc"), key_of_ours(b"Bearer eyJfbx_.x"), key_of_ours(b"Basic OmZieF9hYmM=")
    (b'fbx_abc', None, b'fbx_abc')
    """
    if KEY_PREFIX not in credential:
        if credential[:5].lower() != b"basic":
            return None
        credential = _user_and_password(credential[5:])
    found = _KEY_OF_OURS.search(credential)
    return None if found is None else found[0]


def _user_and_password(basic: bytes) -> bytes:
    """What Basic credentials say, the colon a space; read as leniently as any server might. Nothing: they are none."""
    try:
        return b64decode(basic.translate(_URL_SAFE) + b"==").replace(b":", b" ")
    except binascii.Error:
        return b""


def _token(authorization: bytes) -> bytes | None:
    lowered = authorization[:16].lower()
    for scheme in _TOKEN_SCHEMES:
        if lowered.startswith(scheme):
            return authorization[len(scheme) :].strip()
    return authorization


def function_and_task(head: RequestHead) -> tuple[str, str]:
    """(function, task) as the caller names them: X-Farebox-Function, -Task, else W3C baggage."""
    function = head.function.decode("utf-8", "replace")
    task = head.task.decode("utf-8", "replace")
    if head.baggage and not (function and task):
        said = _baggage(head.baggage.decode("utf-8", "replace"))
        function = function or said.get("farebox.function", "")
        task = task or said.get("farebox.task", "")
    return clean(function), clean(task)


def _baggage(text: str) -> dict[str, str]:
    """The members of a W3C baggage field; properties after ; are ignored."""
    members = {}
    for member in text.split(","):
        key, equals, value = member.partition(";")[0].partition("=")
        if equals:
            members[key.strip()] = unquote(value.strip())
    return members


_BEARER: Final = b'Bearer realm="farebox"'

CREDENTIALS_MISSING: Final = Refusal(
    status=401,
    code="CREDENTIALS_MISSING",
    text="No Farebox key was sent. Send one as Authorization: Bearer fbx_..., X-Api-Key or X-Farebox-Key.",
    challenge=_BEARER,
)
TOKEN_MISSING: Final = Refusal(
    status=401,
    code="CREDENTIALS_MISSING",
    text="No access token was sent. Send it as Authorization: Zoho-oauthtoken ... or Bearer ...",
    challenge=_BEARER,
)
KEY_UNKNOWN: Final = Refusal(
    status=401,
    code="CREDENTIALS_UNKNOWN",
    text="This Farebox key is not known or was revoked. Ask for a new one (farebox key add).",
    challenge=_BEARER + b', error="invalid_token"',
)
TOKEN_INACTIVE: Final = Refusal(
    status=401,
    code="CREDENTIALS_UNKNOWN",
    text="The access token is not active: it expired, was revoked or is not from here. Get a new one and repeat.",
    challenge=_BEARER + b', error="invalid_token"',
)
CREDENTIALS_CONTRADICT: Final = Refusal(
    status=401,
    code="CREDENTIALS_CONTRADICT",
    text="The credentials sent name different orgs. Send those of one org.",
    challenge=_BEARER,
)
