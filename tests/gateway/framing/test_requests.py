"""Nothing reaches the upstream that nginx would frame differently, whatever a caller sends, and however often."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.gateway.conftest import GatewayMaker

from farebox.testing.upstream import StubUpstream

from .cases import Said, request, rows
from .proxies import NGINX_RECORDED, Address, exchange, nginx_before, nginx_version, statuses
from .recorder import Recorder, Seen, requests_in
from .requests_corpus import KINDS

ROWS = rows(KINDS)
BEFORE = request("GET /before HTTP/1.1", "Host: g").encode()
AFTER = request("GET /after HTTP/1.1", "Host: g", "Connection: close").encode()
BEFORE_SEEN: Seen = ("GET", "/before", b"")
REFUSED = 400


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a proxy answered and forwarded. `first`: its answer to the message; 0: none."""

    statuses: list[int]
    first: int
    seen: list[Seen]


@dataclass(frozen=True)
class Proxy:
    """A proxy and what stands behind it."""

    address: Address
    upstream: Recorder

    def alone(self, said: Said) -> Outcome:
        """The message on a connection of its own."""
        heard = statuses(exchange(self.address, said.data, end=True))
        return Outcome(statuses=heard, first=(heard or [0])[0], seen=self.upstream.taken())

    def between(self, said: Said) -> Outcome:
        """The message after a good request and right before another one, all on one connection."""
        rest = said.data if said.short else said.data + AFTER
        heard = statuses(exchange(self.address, BEFORE, rest, end=said.short))
        return Outcome(statuses=heard, first=(heard[1:] or [0])[0], seen=self.upstream.taken())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Recorder() as recorder, StubUpstream() as unused:
        maker = GatewayMaker(tmp_path_factory.mktemp("framing"), unused)
        running = maker(
            url=f"http://127.0.0.1:{recorder.port}",
            header_bytes_max=8192,
            header_fields_max=100,
            target_bytes_max=4096,
        )
        yield Proxy(running.address, recorder)
        maker.stop()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Recorder() as recorder, nginx_before(recorder.port, tmp_path_factory.mktemp("nginx")) as address:
        yield Proxy(address, recorder)


def test_the_corpus_is_large() -> None:
    assert len(ROWS) > 250


@pytest.mark.parametrize("row", ROWS)
def test_nothing_reaches_the_upstream_that_nginx_frames_differently(gateway: Proxy, nginx: Proxy, row: str) -> None:
    said = ROWS[row]
    alone, between = gateway.alone(said), gateway.between(said)
    nginx_alone, nginx_between = nginx.alone(said), nginx.between(said)
    assert not gateway.upstream.faults, "a strict parser does not take what the gateway sent"
    assert_framed_alike(alone.seen, nginx_alone, said.data)
    assert_framed_alike(between.seen, nginx_between, BEFORE + said.data + AFTER)
    assert between.seen[:1] == [BEFORE_SEEN]
    assert between == gateway.between(said), "the same bytes were read differently the second time"
    assert (alone.first, between.first) == (said.status, said.status)
    assert_nothing_after_a_refusal(between)
    if nginx_version().startswith(NGINX_RECORDED):
        assert nginx_alone.first == said.nginx


def assert_framed_alike(seen: list[Seen], nginx: Outcome, said: bytes) -> None:
    """As nginx forwards it, as far as it goes; what nginx refuses as a whole, as h11 reads the caller's own bytes."""
    if len(seen) > len(nginx.seen) and nginx.first >= REFUSED:
        assert seen == requests_in(said)[: len(seen)]
    else:
        assert seen == nginx.seen[: len(seen)]


def assert_nothing_after_a_refusal(outcome: Outcome) -> None:
    refused = [index for index, status in enumerate(outcome.statuses) if status >= REFUSED]
    assert not refused or refused == [len(outcome.statuses) - 1]
    if refused:
        assert len(outcome.seen) == refused[0]


@pytest.mark.parametrize("row", [row for row, said in ROWS.items() if said.status < REFUSED])
def test_what_was_learnt_from_a_request_lets_no_other_one_pass(gateway: Proxy, row: str) -> None:
    """A word more in the request line is never accepted, however the rest was spelled when it came alone."""
    said = ROWS[row].data
    for _ in range(2):
        exchange(gateway.address, said, end=True)
    gateway.upstream.taken()
    method, _, rest = said.lstrip(b"\r\n").partition(b" ")
    for word in (b"/x", b"/x ", b"/x  ", b"/x\t", b" /x "):
        longer = Said((method + b" " + word + rest).decode("latin-1"), 0, 0)
        outcome = gateway.alone(longer)
        plainly = re.sub(rb" +HTTP/1", b" HTTP/1", longer.data)  # which both proxies forgive, and h11 does not
        assert outcome.seen == requests_in(plainly)[: len(outcome.seen)]
