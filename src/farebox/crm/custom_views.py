"""Views of a module: what every module has, what users made, and the condition each of them stands for.

A view is named in lists, COQL, counts and jobs by its id, the `cvid`. Converted leads are in those views alone that
are about them. Source: Zoho CRM v8 custom-view-meta and the custom views of the official OpenAPI files.
"""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from farebox.crm.call import Call
from farebox.crm.conditions import All, Column, Compare, Condition, Operator
from farebox.crm.criteria_tree import read_criteria
from farebox.crm.organisations import Organisation
from farebox.crm.schema import DataType, Module, make_field
from farebox.crm.validate import parse_id

VIEWS_SERIAL: Final = 300_000
VIEWS_PER_MODULE: Final = 100
RECENT_S: Final = 7 * 24 * 3_600
"""How long something is recent [?]."""
CONVERTED: Final = Column(make_field("$converted", DataType.BOOLEAN))
OWNER: Final = Column(make_field("Owner", DataType.OWNER))
CREATED_BY: Final = Column(make_field("Created_By", DataType.OWNER))

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view. `definition` is what its maker may change; `system_name` is None for one that somebody made."""

    id: int
    name: str
    definition: Json = field(default_factory=dict)
    system_name: str | None = None
    of_converted: bool = False
    made: sqlite3.Row | None = None

    @property
    def sort_by(self) -> str | None:
        """API name of the field its records are sorted by."""
        return self.definition.get("sort_by")

    @property
    def descending(self) -> bool:
        """Whether the highest comes first."""
        return bool(self.definition.get("sort_order", "desc") == "desc")


@dataclass(frozen=True, slots=True)
class _System:
    name: str
    system_name: str
    test: Callable[[Call], Condition]
    of_converted: bool = False


def _mine(call: Call) -> Condition:
    return Compare(OWNER, Operator.EQUAL, (call.user.id,))


def _recently(api_name: str) -> Callable[[Call], Condition]:
    column = Column(make_field(api_name, DataType.DATETIME))
    return lambda call: Compare(column, Operator.GREATER_EQUAL, (call.at - RECENT_S,))


def _unread(call: Call) -> Condition:
    return All((_mine(call), Compare(CREATED_BY, Operator.NOT_EQUAL, (call.user.id,))))


_SYSTEM: Final = (
    _System("All {}", "ALLVIEWS", lambda _: All(())),
    _System("My {}", "MYVIEW", _mine),
    _System("Recently Created {}", "RECENTCREATED", _recently("Created_Time")),
    _System("Recently Modified {}", "RECENTMODIFIED", _recently("Modified_Time")),
    # nobody opens records on a screen here: what somebody else made for me is unread
    _System("Unread {}", "UNREADVIEW", _unread),
)
_OF_LEADS: Final = (
    _System("Converted {}", "CONVERTEDVIEW", lambda _: All(()), of_converted=True),
    _System("My Converted {}", "MYCONVERTEDVIEW", _mine, of_converted=True),
)


def condition_of(call: Call, module: Module, cvid: object) -> Condition | None:
    """What the records of a view have in common, converted or not included; None without such a view for the caller."""
    view = find_view(call, module, cvid)
    return None if view is None else condition_of_view(call, module, view)


def condition_of_view(call: Call, module: Module, view: View) -> Condition:
    """What the records of a view have in common, converted or not included."""
    converted = Compare(CONVERTED, Operator.EQUAL, (view.of_converted,))
    if view.system_name is not None:
        (system,) = (each for each in _system_of(module) if each.system_name == view.system_name)
        return All((converted, system.test(call)))
    criteria = view.definition.get("criteria")
    return converted if criteria is None else All((converted, read_criteria(call, module, criteria)))


def find_view(call: Call, module: Module, cvid: object) -> View | None:
    """The view of this id, if it is one of the module and the caller sees it."""
    view_id = parse_id(cvid)
    if view_id is None:
        return None
    system = next((each for each in system_views(call.organisation, module) if each.id == view_id), None)
    if system is not None:
        return system
    with call.store.reading() as db:
        row = db.execute(
            "SELECT * FROM custom_view WHERE id = ? AND zgid = ? AND module = ?",
            (view_id, call.organisation.zgid, module.api_name),
        ).fetchone()
    view = None if row is None else view_of(row)
    return view if view is not None and is_seen(call, view) else None


def views_of(call: Call, module: Module) -> list[View]:
    """All views of a module that the caller sees: the module's own, then the made ones in the order they were made."""
    with call.store.reading() as db:
        rows = db.execute(
            "SELECT * FROM custom_view WHERE zgid = ? AND module = ? ORDER BY id",
            (call.organisation.zgid, module.api_name),
        ).fetchall()
    made = [view for view in map(view_of, rows) if is_seen(call, view)]
    return [*system_views(call.organisation, module), *made]


def view_of(row: sqlite3.Row) -> View:
    """A view that somebody made."""
    return View(id=row["id"], name=row["name"], definition=json.loads(row["definition"]), made=row)


def is_seen(call: Call, view: View) -> bool:
    """Whether the caller sees a made view: it is public, their own, or shared with them."""
    assert view.made is not None, "the module's own views are seen by all"
    access = view.definition["access_type"]
    if access == "public" or view.made["created_by"] == call.user.id:
        return True
    return access == "shared" and str(call.user.id) in view.definition["shared_to"]


def system_views(organisation: Organisation, module: Module) -> list[View]:
    """The views that the module has by itself."""
    first = organisation.full_id(VIEWS_SERIAL + module.number * VIEWS_PER_MODULE)
    return [
        View(
            id=first + position,
            name=each.name.format(module.plural),
            system_name=each.system_name,
            of_converted=each.of_converted,
        )
        for position, each in enumerate(_system_of(module))
    ]


def _system_of(module: Module) -> tuple[_System, ...]:
    return (*_SYSTEM, *_OF_LEADS) if module.api_name == "Leads" else _SYSTEM
