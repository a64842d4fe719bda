"""Request heads seen before, by their exact bytes: a kept-alive caller says the same fields again and again.

A head is its request line's method and target, and the rest: version, fields, empty line. A rest that was accepted once
with a method, by the parser and by `request_head`, is accepted again with it, whatever the target, which is checked by
itself. So a repeated head is cut in three and looked up (2 us) instead of parsed and judged (14 us). Nothing is ever
refused here: what is not known goes the general way. A head is remembered when it comes for the second time: those
that never do, with an id of their own in each, cost a hash.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from farebox.gateway.http1_answer import AnswerHead
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.refuse import HeadError
from farebox.gateway.targets import origin_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from farebox.gateway.identify import Caller

HEAD_BYTES_MAX: Final = 4_096
"""Longer heads are not remembered; nor are longer targets."""
HEADS_WEIGHT_MAX: Final = 16 << 20
"""Bytes of memory of all heads that came since the last turn, of all methods; as many of those before it are kept."""
WEIGHT_PER_BYTE: Final = 9
WEIGHT_PER_HEAD: Final = 1_024
"""What a head takes: 3.4 KB in 120 fields were measured at 21 KiB, a usual one of 300 bytes at 2.5."""
TARGETS_MAX: Final = 2_048
TARGET_BYTES_MAX: Final = 512

ONCE_MAX: Final = 8_192
"""Hashes of heads that came once."""

KEPT_SECONDS: Final = 60.0
"""A head that did not come again for so long (at most twice as long) is forgotten: it may hold a credential."""

ANSWER_BYTES_MAX: Final = 1_024
ANSWERS_MAX: Final = 512
"""Heads of answers per upstream, and the longest of them."""

# Of the targets that start with "/", exactly those the parser takes and `origin_form` looks at: printable ASCII.
_PATH: Final = re.compile(rb"/[!-~]*")


class KnownHead:
    """A rest that was accepted with one method, and what was found out about its calls since."""

    __slots__ = (
        "caller", "forwarded", "forwarded_as", "head", "identifier", "image", "names", "until",
    )  # fmt: skip

    def __init__(self, head: RequestHead) -> None:
        self.head = head.again(head.target, head.path, head.query, self)
        self.caller: Caller | None = None
        """Who calls, while `identifier` goes by this `image` of the directory and until its clock says `until`."""
        self.identifier: object = None
        self.image: object = None
        self.until = 0.0
        self.names: tuple[str, str] | None = None
        """Function and task."""
        self.forwarded = b""
        """The rest as it goes upstream, for calls whose `Call.sent_as` says this."""
        self.forwarded_as: tuple[Any, ...] = ()


class Once:
    """What came once: by its hash, for a false "again" costs no more than a place in a table."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def again(self, head: bytes) -> bool:
        """Whether it came before; from now on it did."""
        hashes, hashed = self._hashes, hash(head)
        if hashed in hashes:
            return True
        if len(hashes) >= ONCE_MAX:
            hashes.clear()
        hashes.add(hashed)
        return False


class KnownHeads:
    """What one worker remembers. `now` is a monotonic clock in seconds."""

    __slots__ = ("_before", "_known", "_now", "_once", "_targets", "_turned_at", "_weight")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[bytes, dict[bytes, KnownHead]] = {}
        self._before: dict[bytes, dict[bytes, KnownHead]] = {}
        self._once = Once()
        self._targets: dict[bytes, tuple[bytes, str, str]] = {}
        self._turned_at = now()
        self._weight = 0

    def find(self, head: bytes, target_bytes_max: int) -> RequestHead | None:
        """The accepted head that these bytes, up to and with the empty line, surely are; None: they must be parsed."""
        try:
            method, target, rest = head.split(b" ", 2)
            known = self._known[method].get(rest) or self._again(method, rest)
        except (ValueError, KeyError):
            return None
        if known is None:
            return None
        found = self._targets.get(target)
        if found is None:
            if len(target) > target_bytes_max or _PATH.fullmatch(target) is None:
                return None
            try:
                forward, path, query = origin_form(target, known.head.host)
            except HeadError:
                return None
            found = (forward, path.decode("ascii"), query.decode("ascii"))
            if len(target) <= TARGET_BYTES_MAX:
                if len(self._targets) >= TARGETS_MAX:  # targets with ids in them: begin anew rather than keep the old
                    self._targets.clear()
                self._targets[target] = found
        return known.head.again(*found, known)

    def remember(self, data: bytes, head: RequestHead) -> None:
        """`data` is one request, accepted as `head`, and nothing else (but, it may be, empty lines before it)."""
        end = data.find(b"\r\n\r\n") + 4
        if end > HEAD_BYTES_MAX or not head.repeatable or len(data) - end != head.length:
            return
        method, *_, rest = data[:end].split(b" ", 2)
        # Only the spelling that `find` cuts apart: "GET  /a HTTP/1.1", accepted, would vouch for "GET /b /a HTTP/1.1".
        if method != head.method or not rest.startswith(b"HTTP/1.1\r\n") or not self._once.again(rest):
            return
        self._keep(method, rest, KnownHead(head))

    def forget_old(self) -> None:
        """Forget what did not come again lately; to be called with every tick."""
        if self._now() - self._turned_at >= KEPT_SECONDS:
            self._turn()

    def _turn(self) -> None:
        self._before = self._known
        self._known = {method: {} for method, heads in self._before.items() if heads}
        self._turned_at = self._now()
        self._weight = 0

    def _keep(self, method: bytes, rest: bytes, known: KnownHead) -> None:
        self._weight += WEIGHT_PER_HEAD + WEIGHT_PER_BYTE * len(rest)
        if self._weight > HEADS_WEIGHT_MAX:
            self._turn()
        self._known.setdefault(method, {})[rest] = known

    def _again(self, method: bytes, rest: bytes) -> KnownHead | None:
        known = self._before.get(method, {}).pop(rest, None)
        if known is not None:
            self._keep(method, rest, known)
        return known


class KnownAnswers:
    """Answer heads of one upstream, by their exact bytes: within a second many are the same, `Date` included."""

    __slots__ = ("_known", "_once")

    def __init__(self) -> None:
        self._known: dict[bytes, AnswerHead] = {}
        self._once = Once()

    def find(self, head: bytes) -> AnswerHead | None:
        """The accepted head that these bytes are, if it frames its body by a length and keeps the connection."""
        return self._known.get(head)

    def remember(self, data: bytes, answer: AnswerHead) -> None:
        """`data` is one answer, accepted as `answer`, and nothing else. `answer` must not be changed in place."""
        end = data.find(b"\r\n\r\n") + 4
        if (
            answer.keep_alive
            and answer.has_body
            and end <= ANSWER_BYTES_MAX
            and answer.length == len(data) - end
            and data.startswith(b"HTTP/1.1 ")
            and self._once.again(data[:end])
        ):
            if len(self._known) >= ANSWERS_MAX:  # nearly all are of seconds gone by
                self._known.clear()
            self._known[data[:end]] = answer
