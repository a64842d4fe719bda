"""Turn by turn among those who wait: however much one of them brings, each other one's next turn is as near.

Bounded in all; when it is full, whoever waits for most loses what it brought last.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Lines of items, one for each who brought some; `take` goes round the lines.

    >>> queue = FairQueue[str](size_max=3)
    >>> [queue.put(who, item) for who, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("a", "a4"))]
    [None, None, None, 'a3', 'a4']
    >>> [queue.take() for _ in range(4)]
    ['a1', 'b1', 'a2', None]
    """

    def __init__(self, *, size_max: int) -> None:
        self._size_max = size_max
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Items that wait."""
        return self._size

    def put(self, who: str, item: Item) -> Item | None:
        """Let an item wait. Gives back the one there is no room for: of whoever has most waiting, the newest."""
        line = self._lines.setdefault(who, deque())
        line.append(item)
        if self._size < self._size_max:
            self._size += 1
            return None
        longest = max(self._lines.values(), key=len)
        if len(longest) == len(line):  # nobody has more waiting: who comes last gives way
            longest = line
        given_up = longest.pop()
        if not line:
            del self._lines[who]
        return given_up

    def take(self) -> Item | None:
        """The next item; None when nothing waits."""
        if not self._lines:
            return None
        who, line = self._lines.popitem(last=False)
        self._size -= 1
        item = line.popleft()
        if line:
            self._lines[who] = line
        return item
