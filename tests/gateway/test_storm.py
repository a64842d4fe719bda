"""After any storm nothing is left behind: no hold, reservation, room, unit or wait; and what went out is charged."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time

import pytest

from farebox.journal.records import CHARGE, CLOSE
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Caller, Gateway, GatewayMaker, until

SECONDS = 2.5
CALLERS = 8


def act(caller: Caller, chance: random.Random) -> None:
    """One thing a caller may do, well or badly."""
    path = chance.choice(["/crm/v8/Leads", "/crm/v8/big", "/crm/v8/reset", "/crm/v8/slow", "/crm/v8/early"])
    body = b'{"data":[' + b",".join([b"{}"] * chance.randrange(1, 100)) + b"]}"
    match chance.randrange(7):
        case 0:
            caller.ask("GET", path)
        case 1:
            caller.ask("POST", path, body=body)
        case 2:
            caller.say(f"POST {path} HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
            caller.say(b"%x\r\n%b\r\n" % (len(body), body))
            if chance.random() < 0.5:
                caller.say("0\r\n\r\n").hear()
            else:
                raise OSError("gone in the middle of a body")
        case 3:
            caller.say(f"GET {path} HTTP/1.1\r\nHost: g\r\n\r\n" * 3)
            if chance.random() < 0.5:
                caller.hear()
            raise OSError("gone with answers to come")
        case 4:
            caller.say(f"POST {path} HTTP/1.1\r\nHost: g\r\nContent-Length: 1000000\r\n\r\n", body)
            raise OSError("gone in the middle of a body")
        case 5:
            caller.say(f"GET {path} HTTP/1.1\r\nHost: g\r\nConn")
            raise OSError("gone in the middle of a head")
        case _:
            caller.say(chance.randbytes(chance.randrange(1, 300)))
            caller.raw()
            raise OSError("closed by the gateway")


def storm(gateway: Gateway, seed: int, until_time: float) -> None:
    chance = random.Random(seed)
    while time.monotonic() < until_time:
        caller = Caller(gateway.address)
        caller.socket.settimeout(60)
        try:
            for _ in range(5):
                act(caller, chance)
        except (OSError, AssertionError):
            if chance.random() < 0.5:
                caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            caller.close()


@pytest.mark.slow
def test_after_a_storm_nothing_is_left_behind(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    gateway = make_gateway(
        card="zoho-crm", answer_seconds=0.3, body_idle_seconds=0.5, header_seconds=0.5, answer_hold_seconds=0.02
    )
    upstream.answer("/crm/v8/big", Behaviour(stream_bytes=500_000), Behaviour(stream_bytes=500_000, chunked=True))
    upstream.answer("/crm/v8/reset", Behaviour(reset_after=50), Behaviour(raw=b"nonsense\r\n\r\n"))
    upstream.answer("/crm/v8/slow", Behaviour(delay_seconds=0.05))
    upstream.answer("/crm/v8/early", Behaviour(read_body=False, close_after=True))
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=storm, args=(gateway, seed + n, end)) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    plane, worker = gateway.worker.plane, gateway.worker
    until(lambda: not gateway.on_loop(lambda: len(plane.clients)))
    until(lambda: gateway.held() == 0)
    assert gateway.on_loop(worker.counters.in_flight) == (0, 0)
    assert gateway.on_loop(lambda: worker.journal._committer.reserved) == 0
    assert gateway.on_loop(lambda: plane._body_bytes) == 0
    assert gateway.on_loop(lambda: worker._pools[0].waiting) == 0
    waits = worker.waits
    for each in (waits.client_head, waits.client_body, waits.client_write, waits.answer_hold, waits.quota):
        assert gateway.on_loop(each.__len__) == 0, each.name
    assert gateway.caller().ask("GET", "/crm/v8/Leads").status == 200
    entries = gateway.entries()
    charges = {entry.call_id: entry for entry in entries if entry.kind == CHARGE}
    assert len(charges) == len([entry for entry in entries if entry.kind == CHARGE])
    closes = [entry.call_id for entry in entries if entry.kind == CLOSE]
    assert len(closes) == len(set(closes))
    assert set(closes) <= set(charges)
    assert len(charges) >= len({(r.connection, id(r)) for r in upstream.requests}) - upstream_repeats(upstream)


def upstream_repeats(upstream: StubUpstream) -> int:
    """Requests that may be second tries: harmless ones that began a connection."""
    seen: set[int] = set()
    repeats = 0
    for request in upstream.requests:
        if request.connection not in seen and request.method == "GET":
            repeats += 1
        seen.add(request.connection)
    return repeats
