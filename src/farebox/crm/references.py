"""References between the sub-requests of a composite: `@{1:$.data[0].details.id}` is a value of an earlier answer.

Source: Zoho CRM v7 composite-request.
"""

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

REFERENCE = re.compile(r"@\{([a-zA-Z0-9][a-zA-Z0-9_]*):(\$[^{}]*)\}")
STEP = re.compile(r"\.([A-Za-z_$][\w$]*)|\[(\d{1,9})\]|\['([^']*)'\]")


class UnresolvedError(Exception):
    """A reference to an answer that is not there, or to a value that is not in it. `path` is where it stands."""

    def __init__(self, reference: str, path: str) -> None:
        super().__init__(reference)
        self.reference = reference
        self.path = path


class LoopError(Exception):
    """Requests that wait for each other."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def names_in(content: object) -> frozenset[str]:
    """The requests that are referred to anywhere in a JSON value."""
    return frozenset(found[1] for text in _texts(content) for found in REFERENCE.finditer(text))


def ordered(needs: Mapping[str, frozenset[str]]) -> list[str]:
    """The requests so that each comes after those it needs, else in the order given; raises LoopError.

    >>> ordered({"a": frozenset({"b"}), "b": frozenset(), "c": frozenset()})
    ['b', 'c', 'a']
    """
    try:
        order = TopologicalSorter({name: [each for each in needs if each in on] for name, on in needs.items()})
        return list(order.static_order())
    except CycleError as error:
        raise LoopError(list(dict.fromkeys(error.args[1]))) from error


def resolve(content: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """The same JSON with values in place of references; raises UnresolvedError.

    A text that is one reference and nothing else becomes the value itself; inside a text it becomes text.
    """
    return {name: _resolved(value, answers, name) for name, value in content.items()}


def _resolved(value: Any, answers: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        if whole is not None:
            return _value(whole, answers, path)
        return REFERENCE.sub(lambda found: _as_text(_value(found, answers, path)), value)
    if isinstance(value, list):
        return [_resolved(each, answers, f"{path}[{n}]") for n, each in enumerate(value)]
    if isinstance(value, dict):
        return {name: _resolved(each, answers, f"{path}.{name}") for name, each in value.items()}
    return value


def _value(found: re.Match[str], answers: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 (JSON)
    value: Any = answers.get(found[1])
    steps = found[2][1:]
    at = 0
    while at < len(steps):
        step = STEP.match(steps, at)
        key = None if step is None else step[1] or step[3]
        try:
            if step is None:
                raise UnresolvedError(found[0], path)
            value = value[int(step[2])] if key is None else value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise UnresolvedError(found[0], path) from error
        at = step.end()
    if value is None:
        raise UnresolvedError(found[0], path)
    return value


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
