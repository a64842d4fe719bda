"""One frozen Config from farebox.toml and the environment, every problem reported. Long because all settings are here.

Each setting is a dataclass field: its type, its default and, in its metadata, what it is for. docs/configuration.md and
`farebox init` are made from the same fields. The environment overrides the file: FAREBOX_GATEWAY_LISTEN=0.0.0.0:80.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, NewType, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from farebox.domain.routing import Place, host_problem, path_problem, place
from farebox.errors import ConfigInvalidError

KIB: Final = 1024
MIB: Final = 1024 * KIB

Section = TypeVar("Section")
PORTS: Final = {"http": 80, "https": 443}
"""The schemes an upstream may be called by, and their ports."""

Durability = Literal["disk", "os"]
Address = NewType("Address", str)
"""host:port; an IPv6 host stands in brackets; port 0 takes a free one."""
FilePath = NewType("FilePath", str)
"""A file, relative to the folder of the configuration file; empty: none."""
HttpUrl = NewType("HttpUrl", str)


def _setting(default: Any, doc: str, *, low: float | None = None, high: float | None = None) -> Any:  # noqa: ANN401 - a dataclass field is typed where it stands
    metadata = {"doc": doc, "low": low, "high": high}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _required(doc: str) -> Any:  # noqa: ANN401 - see _setting
    return field(metadata={"doc": doc, "low": None, "high": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """The data plane. Every queue, body and wait has a bound with a name."""

    listen: Address = _setting("127.0.0.1:8080", "where callers reach the gateway")
    workers: int = _setting(
        1,
        "gateway processes that share the address, each a core's worth of calls; more than one pays once a core is "
        "full (each takes memory and its own share of the leases); changes with a full restart only",
        low=1,
        high=256,
    )
    tls_certificate: FilePath = _setting(
        "", "PEM file of the gateway's certificate and its intermediates; with it callers speak TLS"
    )
    tls_key: FilePath = _setting("", "PEM file of its key, unencrypted; both are read again when they change")
    durability: Durability = _setting(
        "disk",
        'when a call counts as recorded: "disk" (fdatasync, survives power loss) or "os" (survives kill -9)',
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        "networks (CIDR) of proxies whose X-Forwarded-For says who calls; with it their Forwarded and other "
        "X-Forwarded-* fields are passed on, not read; anybody else's are replaced",
    )
    header_bytes_max: int = _setting(64 * KIB, "bytes of one request or answer head", low=1 * KIB, high=1 * MIB)
    target_bytes_max: int = _setting(16 * KIB, "bytes of one request target (path and query)", low=256)
    header_fields_max: int = _setting(128, "fields in one head", low=8, high=10_000)
    header_seconds: float = _setting(
        10.0, "from the first byte of a request to the end of its head; for a TLS handshake as well", low=0.1
    )
    body_idle_seconds: float = _setting(60.0, "silence inside a body, either way", low=0.1)
    connect_seconds: float = _setting(5.0, "to reach the upstream", low=0.05)
    upstream_down_seconds: float = _setting(
        2.0, "longest time between two tries of an upstream's address that cannot be connected to", low=0.1, high=60.0
    )
    answer_seconds: float = _setting(120.0, "from the last byte of a request to the head of its answer", low=0.1)
    idle_connection_seconds: float = _setting(75.0, "an open connection without a request", low=0.1)
    quota_out_of_reach: Literal["closed", "open"] = _setting(
        "closed",
        'what happens to calls when the quota store cannot be reached and the lease is used up: "closed" refuses them '
        '(503); "open" lets them through, booked, marked as unleased and shown apart, whatever the allowance',
    )
    quota_wait_seconds: float = _setting(2.0, "a call waits for credits from the quota store", low=0.05)
    identity_wait_seconds: float = _setting(10.0, "a call waits until its token was asked about, else 503", low=0.05)
    price_body_bytes_max: int = _setting(
        1 * MIB,
        "bytes of a request body read to price it; a larger one costs the operation's ceiling",
        low=1 * KIB,
    )
    price_bodies_bytes_max: int = _setting(
        64 * MIB, "bytes of all request bodies being read to price them; further ones are refused (503)", low=1 * MIB
    )
    answer_hold_bytes: int = _setting(
        64 * KIB,
        "bytes of an answer held back to charge it exactly; a larger one streams at its ceiling",
        low=0,
    )
    answer_hold_seconds: float = _setting(
        0.5, "an answer that is not whole this long after its head streams at its ceiling", low=0.01
    )
    stream_buffer_bytes: int = _setting(
        256 * KIB, "bytes buffered per direction before the faster side is paused", low=16 * KIB
    )
    client_connections_max: int = _setting(10_000, "open connections of callers", low=1)
    upstream_connections_max: int = _setting(256, "open connections to one address of an upstream", low=1)
    upstream_waiting_max: int = _setting(10_000, "calls waiting for a connection to one address of an upstream", low=0)
    tunnel_idle_seconds: float = _setting(300.0, "an open tunnel (websocket) through which nothing moves", low=0.1)
    tunnels_max: int = _setting(1_000, "open tunnels of a worker; they count as no connection of calls", low=0)
    pipelined_bytes_max: int = _setting(
        256 * KIB, "bytes of further requests read on a connection while one is upstream", low=16 * KIB
    )
    journal_segment_bytes: int = _setting(8 * MIB, "size of one journal segment", low=256 * KIB)
    journal_bytes_max: int = _setting(
        4096 * MIB, "all journal segments together; calls are refused (503) beyond", low=1 * MIB
    )
    token_cache_entries: int = _setting(100_000, "access tokens remembered", low=16)
    token_cache_seconds: float = _setting(60.0, "longest time a token's answer is believed", low=1.0, high=300.0)
    drain_idle_seconds: float = _setting(
        5.0,
        "a worker that ends keeps idle connections so long, so that no request on its way is lost; at most "
        "stop_grace_seconds",
        low=0.0,
    )
    stop_grace_seconds: float = _setting(10.0, "calls in flight may end before a stopping gateway cuts them", low=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleConfig:
    """The control plane: dashboard, JSON API, loading of usage."""

    listen: Address = _setting("127.0.0.1:8081", "where people reach the console")
    public_url: str = _setting("", "the address people type, when a proxy stands in front; made from listen if empty")
    session_hours: int = _setting(12, "how long a sign-in lasts", low=1, high=24 * 30)
    usage_memory: str = _setting("128MB", "memory the usage store may take")
    history_days: int = _setting(400, "how long usage is kept (13 months)", low=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """What the service tells about itself (docs/metrics.md)."""

    listen: Address = _setting(
        "127.0.0.1:8082",
        "where Prometheus reaches the metrics of all processes of this machine; nobody is asked who they are there",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The log, on standard error."""

    format: Literal["auto", "people", "json"] = _setting(
        "auto", '"people" or "json", one object per line; "auto": people on a terminal, else JSON'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """How the server of an https:// url is verified, and how the gateway shows who it is. Files are PEM."""

    ca_file: FilePath = _setting("", "the CAs to trust instead of the system's, or a self-signed certificate itself")
    server_name: str = _setting("", "the name sent (SNI) and looked for in the certificate, when it is not url's host")
    client_certificate: FilePath = _setting("", "the gateway's own certificate, for a server that asks for one")
    client_key: FilePath = _setting("", "and its key, unencrypted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspection:
    """Identity asked from the upstream's authorization server (RFC 7662)."""

    url: HttpUrl = _required("the introspection endpoint")
    client_id: str = _setting("", "how the gateway names itself there")
    client_secret: str = _setting("", "and proves it")
    org_claim: str = _setting("org", "claim that names the org")
    user_claim: str = _setting("user", "claim that names the user")
    app_claim: str = _setting("client_id", "claim that names the app")
    tls: UpstreamTls | None = _setting(None, "verification of an https:// url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Identity by place: every call through this upstream belongs to one org and app."""

    org: str = _required("the org every call is charged to")
    app: str = _setting("", "the app every call is counted under")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Identity asked from the API itself: every token is of one org, its user is asked once per token (Zoho)."""

    org: str = _required("the org every call is charged to")
    app: str = _setting("", "the app every call is counted under")
    url: HttpUrl = _setting(HttpUrl(""), "where to ask, if not at this upstream's own url")
    path: str = _setting(
        "/crm/v8/users?type=CurrentUser", "what to ask there; priced by the card and booked to user and app `farebox`"
    )
    user_claim: str = _setting("id", "what of the user in the answer names them: id or email")
    users: Literal["any", "listed"] = _setting(
        "any", "any: whoever the API knows may call; listed: users of `farebox user add` only, anybody else gets 403"
    )
    tls: UpstreamTls | None = _setting(None, "verification of an https:// url given here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An API behind the gateway, the rate card that prices it, and how its callers are known."""

    name: str = _required("a short name, unique here")
    url: HttpUrl = _required("where the API is: https://host or http://host:port")
    addresses: tuple[Address, ...] = _setting(
        (), "host:port of the servers to call instead of url's host, whose name they get as Host and must have in TLS"
    )
    balance: Literal["in-order", "round-robin"] = _setting(
        "in-order", 'with several addresses: "in-order" (the first that is up) or "round-robin" (in turn)'
    )
    card: str = _required("a packaged rate card (zoho-crm, bigin, generic) or the path of a card file")
    hosts: tuple[str, ...] = _setting(
        (),
        "host names callers use for this upstream, without port; *.example.com for all below it; none: every host",
    )
    paths: tuple[str, ...] = _setting(
        ("/",), "path prefixes that belong to this upstream; among those of one host the longest wins"
    )
    identity: Literal["key", "introspection", "fixed", "lookup"] = _setting("key", "how callers are known")
    introspection: Introspection | None = _setting(None, 'for identity = "introspection"')
    fixed: Fixed | None = _setting(None, 'for identity = "fixed"')
    tls: UpstreamTls | None = _setting(None, "verification of an https:// url")
    lookup: Lookup | None = _setting(None, 'for identity = "lookup"')
    api_domain: str = _setting(
        "",
        "the address of this gateway, written over `api_domain` in JSON answers to calls open to everybody (on the "
        "way to a token), so that clients of a foreign API come back here; empty: they are left alone",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a Farebox process is told. `data` holds quota, directory, journal, usage and the console's own file."""

    data: Path = _setting(Path("farebox-data"), "directory of everything Farebox keeps")
    gateway: GatewayConfig = _setting(GatewayConfig(), "")
    console: ConsoleConfig = _setting(ConsoleConfig(), "")
    metrics: MetricsConfig = _setting(MetricsConfig(), "")
    log: LogConfig = _setting(LogConfig(), "")
    upstream: tuple[Upstream, ...] = _setting((), "")


SECTIONS_IN_ENVIRONMENT: Final[Mapping[str, type[Any]]] = {
    "gateway": GatewayConfig,
    "console": ConsoleConfig,
    "metrics": MetricsConfig,
    "log": LogConfig,
}
"""The sections that FAREBOX_SECTION_SETTING overrides."""


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in `path`, overridden by FAREBOX_* variables.

    Raises ConfigInvalidError with one sentence per problem. Relative paths are taken from the file's folder.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigInvalidError((f"{path}: no such file; `farebox init --upstream URL` writes one",)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalidError((f"{path}: cannot be read: {error}",)) from error
    return parse(text, path=path, environment=environment)


def parse(text: str, *, path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """`load` of a text that was read from `path` before."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalidError((f"{path}: not valid TOML: {error}",)) from error
    problems: list[str] = []
    table = _with_environment(table, os.environ if environment is None else environment, problems)
    config = _section(Config, table, "", problems)
    if config is not None and not problems:
        config = _resolved(config, path.resolve().parent)
        problems.extend(_cross_checks(config))
    if problems or config is None:
        raise ConfigInvalidError(tuple(f"{path}: {problem}" for problem in problems))
    return config


def host_port(address: str) -> tuple[str, int]:
    """An Address split; raises ValueError with a sentence when it is not one."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        raise ValueError(f"{address!r} is not host:port with a port from 0 to 65535")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def url_of(address: str, *, port: int | None = None, tls: bool = False) -> str:
    """How people on this machine type an Address: a wildcard becomes loopback. `port`: the one taken, when it was 0."""
    host, configured = host_port(address)
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    port = configured if port is None else port
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def gateway_url(settings: GatewayConfig) -> str:
    """How people on this machine type the gateway's address."""
    return url_of(settings.listen, tls=bool(settings.tls_certificate))


def _with_environment(table: dict[str, Any], environment: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {**table}
    known = {"FAREBOX_DATA": ("", "data")}
    prefixes = tuple(f"FAREBOX_{section}_".upper() for section in SECTIONS_IN_ENVIRONMENT)
    for section, cls in SECTIONS_IN_ENVIRONMENT.items():
        known |= {f"FAREBOX_{section}_{f.name}".upper(): (section, f.name) for f in fields(cls)}
    for name, text in environment.items():
        if not name.startswith(prefixes) and name != "FAREBOX_DATA":
            continue
        if name not in known:
            problems.append(f"environment variable {name}: no such setting{_suggestion(name, known)}")
            continue
        section, key = known[name]
        if not section:
            merged[key] = text
            continue
        inner = merged.get(section)
        merged[section] = {**(inner if isinstance(inner, dict) else {}), key: _value_of(text)}
    return merged


def _value_of(text: str) -> object:
    """An environment variable's text as the TOML value it spells, else as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(cls: type[Section], table: object, where: str, problems: list[str]) -> Section | None:
    """`table` as an instance of `cls`; None after adding to `problems` when it cannot be one."""
    if not isinstance(table, dict):
        problems.append(f"{where or 'the file'} must be a table, not {type(table).__name__}")
        return None
    hints = get_type_hints(cls)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # cls is a dataclass
    before = len(problems)
    unknown = [key for key in table if key not in known]
    problems.extend(f"{_path(where, key)}: no such setting{_suggestion(str(key), known)}" for key in unknown)
    values = {}
    for name, f in known.items():
        if name in table:
            values[name] = _value(hints[name], table[name], _path(where, name), f, problems)
        elif f.default is MISSING and f.default_factory is MISSING:
            problems.append(f"{_path(where, name)} is missing: {f.metadata['doc']}")
    return cls(**values) if len(problems) == before else None


def _value(hint: Any, given: Any, where: str, f: Field[Any], problems: list[str]) -> Any:  # noqa: ANN401, C901, PLR0911 - one branch per kind of setting; a table of lambdas reads worse
    """`given` checked and converted to `hint`; problems are added, and the raw value returned, when it does not fit."""
    if get_origin(hint) is types.UnionType:
        hint = next(a for a in get_args(hint) if a is not type(None))
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if not isinstance(given, list):
            problems.append(f"{where} must be a list, not {given!r}")
            return given
        return tuple(_value(inner, item, f"{where}[{index}]", f, problems) for index, item in enumerate(given))
    if get_origin(hint) is Literal:
        if given not in get_args(hint):
            choices = ", ".join(f'"{choice}"' for choice in get_args(hint))
            problems.append(f"{where} must be one of {choices}, not {given!r}")
        return given
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return _section(hint, given, where, problems)
    if hint is Path:
        return Path(given) if isinstance(given, str) and given else _wrong(where, "a path", given, problems)
    if hint in (int, float):
        return _number(hint, given, where, f, problems)
    if not isinstance(given, str):
        return _wrong(where, "a text", given, problems)
    check = _TEXT_CHECKS.get(hint)
    if check is not None:
        try:
            check(given)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    return given


def _number(hint: type, given: object, where: str, f: Field[Any], problems: list[str]) -> object:
    accepted = (int,) if hint is int else (int, float)
    if isinstance(given, bool) or not isinstance(given, accepted):
        return _wrong(where, "a whole number" if hint is int else "a number", given, problems)
    low, high = f.metadata["low"], f.metadata["high"]
    if low is not None and given < low:
        problems.append(f"{where} must be at least {low:,}, not {given:,}")
    if high is not None and given > high:
        problems.append(f"{where} must be at most {high:,}, not {given:,}")
    return hint(given)


def _wrong(where: str, wanted: str, given: object, problems: list[str]) -> object:
    problems.append(f"{where} must be {wanted}, not {given!r}")
    return given


def _check_url(text: str) -> None:
    parts = urlsplit(text)
    if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{text!r} is not of the form https://host or http://host:port")
    _ = parts.port  # raises ValueError with its own sentence


_TEXT_CHECKS: dict[Any, Callable[[str], object]] = {Address: host_port, HttpUrl: _check_url}


def _resolved(config: Config, base: Path) -> Config:
    """Relative paths made absolute from the folder of the configuration file."""
    config = _anchored(config, base)
    upstreams = tuple(
        replace_card(u, str(base / u.card)) if u.card.endswith(".toml") and not Path(u.card).is_absolute() else u
        for u in config.upstream
    )
    return replace(config, data=base / config.data, upstream=upstreams)


def _anchored(section: Section, base: Path) -> Section:
    """`section` with every FilePath in it made absolute."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(type(section)).items():
        value = getattr(section, name)
        if hint is FilePath and value:
            found[name] = str(base / value)
        elif hasattr(value, "__dataclass_fields__"):
            found[name] = _anchored(value, base)
        elif isinstance(value, tuple):
            found[name] = tuple(_anchored(v, base) if hasattr(v, "__dataclass_fields__") else v for v in value)
    return replace(section, **found)  # type: ignore[type-var]  # every section is a dataclass


def replace_card(upstream: Upstream, card: str) -> Upstream:
    """The same upstream priced by another card."""
    return replace(upstream, card=card)


def _cross_checks(config: Config) -> list[str]:
    problems: list[str] = []
    if not config.upstream:
        problems.append("no [[upstream]]: name the API that Farebox stands in front of")
    seen_names: set[str] = set()
    taken: dict[Place, str] = {}
    for index, upstream in enumerate(config.upstream):
        where = f"upstream[{index}] ({upstream.name})"
        if upstream.name in seen_names:
            problems.append(f"{where}: the name is taken by an earlier upstream")
        seen_names.add(upstream.name)
        problems.extend(f"{where}: {text}" for text in _identity_problems(upstream))
        problems.extend(f"{where}: {text}" for text in _place_problems(upstream, taken))
        problems.extend(f"{where}: {text}" for text in _way_problems(upstream))
    if bool(config.gateway.tls_certificate) != bool(config.gateway.tls_key):
        problems.append("gateway: tls_certificate and tls_key belong together; give both or neither")
    for network in config.gateway.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            problems.append(f"gateway.trusted_proxies: {error}")
    return problems


def _place_problems(upstream: Upstream, taken: dict[Place, str]) -> list[str]:
    """What is wrong with the places of an upstream; adds them to those that are `taken`, by whom."""
    problems = [text for host in upstream.hosts if (text := host_problem(host))]
    problems += [text for path in upstream.paths if (text := path_problem(path))]
    if not upstream.paths:
        problems.append('paths is empty: no call can reach it; leave it out for ["/"]')
    for host in upstream.hosts or ("",):
        for path in upstream.paths:
            wanted = place(host, path)
            if wanted in taken:
                of = f" of host {host}" if host else ""
                problems.append(f"path {path!r}{of} belongs to {taken[wanted]} already; a place has one upstream")
            taken.setdefault(wanted, upstream.name)
    return problems


def _way_problems(upstream: Upstream) -> list[str]:
    """What is wrong with how an upstream, and who it asks about tokens, is to be connected to."""
    problems = []
    if urlsplit(upstream.url).path not in ("", "/"):
        problems.append(f"url {upstream.url!r} has a path; calls are forwarded with their own path, leave it out")
    asked = upstream.introspection
    for name, url, tls in (
        ("tls", upstream.url, upstream.tls),
        *([("introspection.tls", asked.url, asked.tls)] if asked is not None else []),
    ):
        if tls is not None and urlsplit(url).scheme != "https":
            problems.append(f"{name} is for an https:// url, not {url!r}")
        if tls is not None and bool(tls.client_certificate) != bool(tls.client_key):
            problems.append(f"{name}: client_certificate and client_key belong together; give both or neither")
    return problems


def _identity_problems(upstream: Upstream) -> list[str]:
    if upstream.identity == "introspection" and upstream.introspection is None:
        return ['identity = "introspection" needs a table [upstream.introspection] with url']
    if upstream.identity == "fixed" and upstream.fixed is None:
        return ['identity = "fixed" needs a table [upstream.fixed] with org']
    if upstream.identity == "lookup":
        if upstream.lookup is None:
            return ['identity = "lookup" needs a table [upstream.lookup] with org']
        if not (upstream.lookup.path.startswith("/") and upstream.lookup.path.isascii()) or " " in upstream.lookup.path:
            return [f"lookup.path {upstream.lookup.path!r} must be a path as it stands in a request"]
    if upstream.api_domain and not re.fullmatch(r"https?://[^/?#\s\"\\\\]+", upstream.api_domain):
        return [f"api_domain {upstream.api_domain!r} is not of the form https://host:port, without a slash at the end"]
    return []


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _suggestion(given: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(known))}"
