"""What `farebox check` and `farebox serve` look at before anything starts: every finding, not only the first."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from farebox import cards, config
from farebox.domain.cards import RateCard
from farebox.errors import CardInvalidError, ConfigInvalidError, FareboxError, TlsFilesError, UnknownNameError
from farebox.gateway.certificates import Certificates
from farebox.gateway.tls import UpstreamVerification, connect_problem, upstream_verification
from farebox.quota.directory import FILE_NAME as DIRECTORY_FILE
from farebox.quota.directory import Directory
from farebox.quota.directory_image import DirectoryImage, SubscriptionRecord

UPSTREAM_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `level`: ok, warning (serve starts all the same) or error (it would not)."""

    level: str
    subject: str
    text: str

    @property
    def fatal(self) -> bool:
        """Whether serve cannot start."""
        return self.level == "error"


def everything(path: Path) -> list[Finding]:
    """All findings about the configuration in `path` and what it names."""
    return _all(path, lambda settings: [_address(name, address) for name, address in _addresses(settings).items()])


def before_reload(path: Path, now: config.Config) -> list[Finding]:
    """All findings about a configuration that is to take the place of `now`, in a service that runs."""
    return _all(path, lambda settings: _changes(settings, now))


def _all(path: Path, addresses: Callable[[config.Config], Iterable[Finding]]) -> list[Finding]:
    try:
        settings = config.load(path)
    except ConfigInvalidError as error:
        return [Finding("error", "configuration", problem) for problem in error.problems]
    found = [Finding("ok", "configuration", str(path))]
    known: dict[str, RateCard] = {}
    for name in dict.fromkeys(upstream.card for upstream in settings.upstream):
        found.extend(_card(name, known))
    found.extend(_data(settings.data))
    found.extend(_directory(settings, known))
    found.extend(_certificate(settings.gateway))
    found.extend(addresses(settings))
    found.extend(finding for upstream in settings.upstream for finding in _upstream(upstream))
    found.extend(_led_back(settings))
    return found


def _led_back(settings: config.Config) -> Iterator[Finding]:
    """An API that has to be asked whose token it is sends clients to itself with every token."""
    looks_up = any(upstream.identity == "lookup" for upstream in settings.upstream)
    if looks_up and not any(upstream.api_domain for upstream in settings.upstream):
        text = "is set nowhere: official clients go where a token's answer sends them: round this gateway (zoho.md)"
        yield Finding("warning", "api_domain", text)


def _addresses(settings: config.Config) -> dict[str, str]:
    return {"gateway": settings.gateway.listen, "console": settings.console.listen}


def _changes(settings: config.Config, now: config.Config) -> Iterator[Finding]:
    """What a reload cannot change, and whether what it can is to be had."""
    full = "takes a full restart: stop farebox serve and start it again"
    if settings.data != now.data:
        yield Finding("error", "data", f"is {now.data} as long as farebox serve runs; another directory {full}")
    if settings.gateway.listen != now.gateway.listen:
        text = f"listens on {now.gateway.listen} as before; {settings.gateway.listen} {full}"
        yield Finding("warning", "gateway.listen", text)
    if settings.gateway.workers != now.gateway.workers:
        text = f"there are {now.gateway.workers} as before; {settings.gateway.workers} {full}"
        yield Finding("warning", "gateway.workers", text)
    if settings.metrics != now.metrics:
        yield Finding("warning", "metrics", f"as before; a change {full}")
    if settings.console.listen != now.console.listen:
        yield _address("console", settings.console.listen)


def _card(name: str, known: dict[str, RateCard]) -> Iterator[Finding]:
    try:
        known[name] = cards.load(name)
    except CardInvalidError as error:
        yield from (Finding("error", f"card {name}", problem) for problem in error.problems)
    except FareboxError as error:
        yield Finding("error", f"card {name}", str(error))
    else:
        yield Finding("ok", f"card {name}", f"{len(known[name].operations)} operations, {len(known[name].plans)} plans")


def _data(folder: Path) -> Iterator[Finding]:
    parent = folder
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not os.access(parent, os.W_OK | os.X_OK) or not parent.is_dir():
        yield Finding("error", "data", f"{folder} cannot be written; set `data` to a directory this user may write")
    else:
        yield Finding("ok", "data", str(folder))


def _directory(settings: config.Config, known: dict[str, RateCard]) -> Iterator[Finding]:
    if not (settings.data / DIRECTORY_FILE).exists():
        yield Finding("warning", "directory", "no organisations yet; `farebox org add` makes the first")
        return
    try:
        directory = Directory.open(settings.data)
        image = directory.image()
        directory.close()
    except FareboxError as error:
        yield Finding("error", "directory", str(error))
        return
    orgs = image.orgs()
    yield Finding("ok" if orgs else "warning", "directory", f"{len(orgs)} organisations")
    for org in orgs:
        for subscription in image.subscriptions(org.org):
            yield from _subscription(subscription, known)
    yield from (finding for upstream in settings.upstream for finding in _fixed(upstream, image))


def _subscription(subscription: SubscriptionRecord, known: dict[str, RateCard]) -> Iterator[Finding]:
    where = f"org {subscription.org}, {subscription.product}"
    try:
        card = known.get(subscription.card) or cards.load(subscription.card)
        card.plan(subscription.plan)
    except CardInvalidError as error:
        yield Finding("error", where, f"its card {subscription.card}: {error}")
    except UnknownNameError as error:
        yield Finding("error", where, str(error))


def _fixed(upstream: config.Upstream, image: DirectoryImage) -> Iterator[Finding]:
    org = ""
    if upstream.fixed is not None and upstream.identity == "fixed":
        org = upstream.fixed.org
    elif upstream.lookup is not None and upstream.identity == "lookup":
        org = upstream.lookup.org
    if org and image.org(org) is None:
        text = f"its organisation {org!r} is not in the directory: every call would be refused (403)"
        yield Finding("warning", f"upstream {upstream.name}", text)


def _address(name: str, address: str) -> Finding:
    host, port = config.host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = f"stop what uses it, or set {name}.listen to another address"
            return Finding("error", name, f"cannot listen on {address}: {error.strerror}; {advice}")
    return Finding("ok", name, f"can listen on {address}")


def _certificate(settings: config.GatewayConfig) -> Iterator[Finding]:
    if settings.tls_certificate:
        try:
            Certificates(settings.tls_certificate, settings.tls_key)
        except TlsFilesError as error:
            yield Finding("error", "gateway", str(error))
        else:
            yield Finding("ok", "gateway", f"certificate {settings.tls_certificate} and its key belong together")


def _upstream(upstream: config.Upstream) -> Iterator[Finding]:
    where = f"upstream {upstream.name}"
    parts = urlsplit(upstream.url)
    secure = None
    if parts.scheme == "https":
        try:
            secure = upstream_verification(upstream.tls, host=parts.hostname or "")
        except TlsFilesError as error:
            yield Finding("error", where, str(error))
            return
    own = (parts.hostname or "", parts.port or config.PORTS[parts.scheme])
    for host, port in [config.host_port(address) for address in upstream.addresses] or [own]:
        problem = _connect_problem(host, port, secure)
        at = f"{upstream.url} at {host}:{port}" if upstream.addresses else upstream.url
        if problem:
            yield Finding("warning", where, f"{at} {problem}; as long as that is so, calls there get 502 and are free")
        else:
            yield Finding("ok", where, f"{at} accepts connections{' and its certificate is good' if secure else ''}")


def _connect_problem(host: str, port: int, secure: UpstreamVerification | None) -> str:
    """What keeps a connection from opening now; empty: nothing."""
    try:
        with socket.create_connection((host, port), UPSTREAM_SECONDS_MAX) as connection:
            if secure is not None:
                secure.context.wrap_socket(connection, server_hostname=secure.server_name).close()
    except OSError as error:
        return connect_problem(error)
    return ""
