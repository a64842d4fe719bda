"""One line of the table of paths: method and pattern on the left, who answers and the scopes it takes on the right."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from farebox.crm import scopes
from farebox.crm.bounds import GENERAL, Bound
from farebox.crm.call import Answer, Call
from farebox.crm.errors import invalid_module, invalid_path_id, scope_mismatch
from farebox.crm.organisations import Organisation
from farebox.crm.validate import parse_id

RESERVED = frozenset({"org", "users", "settings", "coql", "actions", "bulk", "files", "upload", "functions", "photo"})
"""Parts of paths that never name a module or a related list (nor does anything that starts with `_`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """An OAuth scope a route takes; all of its operations are needed. `service` None: that of the product."""

    service: str | None
    group: str
    thing: str | None
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`answer` takes the call and, by name, what stands in braces in the pattern; it may be a coroutine function.

    `takes_form`: the body is multipart and reaches `answer` as `call.uploads`; every other body must not be one.
    `reads_long`: whether a call only reads, and may read through a whole module: then others do not wait for it.
    """

    method: str
    pattern: tuple[str, ...]
    scopes: tuple[Scope, ...]
    answer: Callable[..., Answer | Awaitable[Answer]]
    takes_form: bool = False
    reads_long: Callable[[Call], bool]
    body: Bound = GENERAL

    def matches(self, parts: Sequence[str]) -> bool:
        """Whether the pattern fits a path, given as its parts after the version."""
        return len(self.pattern) == len(parts) and all(map(_part_matches, self.pattern, parts))

    def arguments(self, parts: Sequence[str], organisation: Organisation) -> dict[str, Any]:
        """The keyword arguments for `answer`; raises INVALID_MODULE or what is wrong with an id in the path."""
        found: dict[str, Any] = {}
        for position, (pattern, part) in enumerate(zip(self.pattern, parts, strict=True)):
            name = pattern.strip("{}")
            if name == "module":
                module = organisation.module(part)
                if module is None or module.is_subform:
                    raise invalid_module(resource_path_index=position)
                found[name] = module
            elif name.endswith("_id"):
                found[name] = parse_id(part)
                if found[name] is None:
                    raise invalid_path_id(position)
            elif pattern != name:
                found[name] = part
        return found

    def check_scope(self, *, granted: str, product: str, module: str | None) -> None:
        """Raise OAUTH_SCOPE_MISMATCH unless the granted scopes open the route on that module."""
        for each in self.scopes:
            check_scope(each, granted=granted, product=product, module=module)


def check_scope(scope: Scope, *, granted: str, product: str, module: str | None) -> None:
    """Raise OAUTH_SCOPE_MISMATCH unless the granted scopes open all operations of `scope` on that module."""
    for operation in scope.operations:
        if not scopes.allows(
            granted,
            service=scope.service or scopes.SERVICES[product],
            group=scope.group,
            thing=scope.thing or module,
            operation=operation,
        ):
            raise scope_mismatch()


def route(
    method: str,
    path: str,
    scope: str,
    answer: Callable[..., Answer | Awaitable[Answer]],
    *,
    takes_form: bool = False,
    reads_long: Callable[[Call], bool] = lambda _: False,
    body: Bound = GENERAL,
) -> Route:
    """A line of the table. `scope` reads `modules create+update`, `settings.fields read`, or several joined by ` & `.

    A group that begins with `Zoho` names its service too: `ZohoFiles.files create`. `{module}` and names that end in
    `_id` are checked before `answer` is called; other names in braces are passed as they are.
    """
    return Route(
        method=method,
        pattern=tuple(path.split("/")),
        scopes=tuple(_scope(each) for each in scope.split(" & ")),
        answer=answer,
        takes_form=takes_form,
        reads_long=reads_long,
        body=body,
    )


def always(_: Call) -> bool:
    """For `reads_long`: every call of the route."""
    return True


def _scope(text: str) -> Scope:
    group, _, operations = text.partition(" ")
    service = None
    if group.startswith("Zoho"):
        service, _, group = group.partition(".")
    group, _, thing = group.partition(".")
    return Scope(service=service, group=group, thing=thing or None, operations=tuple(operations.split("+")))


def _part_matches(pattern: str, part: str) -> bool:
    if not pattern.startswith("{"):
        return pattern == part
    if pattern in ("{module}", "{related_list}"):
        return bool(part) and part not in RESERVED and not part.startswith("_")
    if pattern.endswith("_id}"):
        return part.isascii() and part.isdecimal()
    return bool(part)
