"""Whatever bytes come, what the gateway accepts is what a second, strict parser reads in them, cached or not.

FAREBOX_SEED replays a run; FUZZ_EXAMPLES (800) is how many. `make fuzz` goes on without end.
"""

from __future__ import annotations

import re

from hypothesis import example, given, seed, settings
from tests.fuzz.reader import Seen, Site
from tests.fuzz.run import EXAMPLES, SEED
from tests.fuzz.spoken import Spoken, spoken
from tests.gateway.framing.recorder import plain, requests_in

SITE = Site()
BETWEEN = b"POST /a HTTP/1.1\r\nHost: g\r\n%b\r\n\r\nGET / HTTP/1.1\r\nHost: g\r\n\r\n"
FORGIVEN = re.compile(rb"(?m)^([A-Z]+) +(\S+) +(HTTP/1\.[01]\r\n)")


def read_strictly(data: bytes) -> list[Seen]:
    """As h11 reads it, without what both nginx and the gateway forgive: line ends before a request, spaces in its line.

    Targets are in origin form (RFC 9112 3.2.1), which the absolute one is brought into.
    """
    found = requests_in(FORGIVEN.sub(rb"\1 \2 \3", data.lstrip(b"\r\n")), empty_lines=True)
    return [(method, target.removeprefix("http://g"), body) for method, target, body in found]


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(said=spoken())
@example(said=Spoken((BETWEEN % b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",)))
@example(said=Spoken((BETWEEN % b"Content-Length: 3\r\n\r\nabc\r\n",)))
def test_what_is_accepted_is_what_a_strict_parser_reads(said: Spoken) -> None:
    in_pieces = SITE.reads(*said.pieces)
    accepted = [(method, plain(target), body) for method, target, body in in_pieces]
    assert accepted == read_strictly(said.data)[: len(accepted)], f"FAREBOX_SEED={SEED}"
    assert SITE.reads(said.data) == in_pieces, f"in one piece it is read differently; FAREBOX_SEED={SEED}"
    assert SITE.reads(said.data) == in_pieces, f"the second time it is read differently; FAREBOX_SEED={SEED}"
