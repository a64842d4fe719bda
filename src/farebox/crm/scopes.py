"""Which OAuth scope opens which path: a rule without I/O.

A scope reads `ZohoCRM.modules.leads.READ`: service, group, optional thing, operation. Letters count in
either case. `ALL` opens everything under it; `WRITE` is CREATE and UPDATE.
Source: Zoho CRM v8 oauth-overview; Bigin has the same with ZohoBigin.
"""

import re
from functools import lru_cache

SERVICES = {"crm": "ZohoCRM", "bigin": "ZohoBigin"}
OPERATIONS = {
    "all": frozenset({"read", "create", "update", "delete", "custom"}),
    "write": frozenset({"create", "update"}),
    "read": frozenset({"read"}),
    "create": frozenset({"create"}),
    "update": frozenset({"update"}),
    "delete": frozenset({"delete"}),
    "custom": frozenset({"custom"}),
}
GROUPS = (
    "modules",
    "settings",
    "users",
    "org",
    "bulk",
    "notifications",
    "mass_update",
    "mass_delete",
    "mass_convert",
    "files",
    "functions.execute",
    "coql.READ",
    "composite_requests.CUSTOM",
    "apis.READ",
    "features.READ",
)
SHARED = "ZohoFiles.files.ALL ZohoSearch.securesearch.READ"
"""What an application of either product may be given besides."""


def everything(product: str) -> str:
    """The scopes of an application that may do all there is, as one string."""
    service = SERVICES[product]
    own = (f"{service}.{group}" if group.rpartition(".")[2].isupper() else f"{service}.{group}.ALL" for group in GROUPS)
    return f"{' '.join(own)} {SHARED}"


def split(scope: str) -> list[str]:
    """The single scopes of a string; both separators in use, commas and spaces, are understood."""
    return [each for each in re.split(r"[\s,]+", scope) if each]


def is_within(scope: str, granted: str) -> bool:
    """Whether every scope asked for was registered for the client, literally or under an `ALL`.

    >>> is_within("ZohoCRM.modules.leads.READ", "ZohoCRM.modules.ALL")
    True
    >>> is_within("ZohoCRM.users.READ", "ZohoCRM.modules.ALL")
    False
    """
    return all(_opened_by(each.lower(), granted) for each in split(scope))


def _opened_by(wanted: str, granted: str) -> bool:
    for each in split(granted):
        have = each.lower()
        if have == wanted or (have.endswith(".all") and wanted.startswith(have.removesuffix("all"))):
            return True
    return False


@lru_cache(maxsize=4_096)
def allows(scope: str, *, service: str, group: str, thing: str | None, operation: str) -> bool:
    """Whether a token's scope opens `operation` (one of OPERATIONS) on a thing of a group.

    >>> allows("ZohoCRM.modules.leads.READ", service="ZohoCRM", group="modules", thing="Leads", operation="read")
    True
    >>> allows("ZohoCRM.modules.leads.READ", service="ZohoCRM", group="modules", thing="Deals", operation="read")
    False
    >>> allows("ZohoCRM.settings.ALL", service="ZohoCRM", group="settings", thing="fields", operation="read")
    True
    """
    prefix = f"{service}.{group}".lower()
    for each in split(scope.lower()):
        head, _, last = each.rpartition(".")
        if operation not in OPERATIONS.get(last, ()):
            continue
        if head == prefix or (thing is not None and head == f"{prefix}.{thing.lower()}"):
            return True
    return False
