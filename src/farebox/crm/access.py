"""Profiles and roles: what users are given by the organisation, read only. Source: Zoho CRM v8 profiles and roles."""

from typing import Any, Final

from farebox.crm.call import Answer, Call
from farebox.crm.errors import invalid_path_id
from farebox.crm.metadata import profiles
from farebox.crm.organisations import list_users
from farebox.crm.route import route

ROLES_SERIAL: Final = 26_005
MANAGER_OFFSET: Final = 3
CUSTOMISE: Final = "Crm_Implied_Customize_Zoho_CRM"
API_ACCESS: Final = "Crm_Implied_Api_Access"

Shown = dict[str, Any]


def roles(call: Call) -> tuple[Shown, Shown]:
    """The two roles every organisation has: administrators have the first, all others the second."""
    first = call.organisation.full_id(ROLES_SERIAL)
    return {"name": "CEO", "id": str(first)}, {"name": "Manager", "id": str(first + MANAGER_OFFSET)}


def list_roles(call: Call) -> Answer:
    """`GET /settings/roles`."""
    return Answer(status=200, payload={"roles": _roles(call)})


def get_role(call: Call, *, role_id: int) -> Answer:
    """`GET /settings/roles/{id}`."""
    return Answer(status=200, payload={"roles": [_one(_roles(call), role_id)]})


def list_profiles(call: Call) -> Answer:
    """`GET /settings/profiles`."""
    shown = [_profile(call, each, whole=False) for each in profiles(call)]
    return Answer(status=200, payload={"profiles": shown, "info": {"license_limit": len(shown)}})


def get_profile(call: Call, *, profile_id: int) -> Answer:
    """`GET /settings/profiles/{id}`: with its permissions."""
    shown = [_profile(call, each, whole=True) for each in profiles(call)]
    return Answer(status=200, payload={"profiles": [_one(shown, profile_id)]})


def _one(shown: list[Shown], thing_id: int) -> Shown:
    for each in shown:
        if each["id"] == str(thing_id):
            return each
    raise invalid_path_id(2)


def _roles(call: Call) -> list[Shown]:
    first, second = roles(call)
    common = {
        "share_with_peers": True,
        "description": None,
        "forecast_manager": None,
        "created_by__s": None,
        "modified_by__s": None,
        "created_time__s": None,
        "modified_time__s": None,
    }
    return [
        {**first, "display_label": first["name"], "admin_user": True, "reporting_to": None, **common},
        {**second, "display_label": second["name"], "admin_user": False, "reporting_to": first, **common},
    ]


def _profile(call: Call, profile: Shown, *, whole: bool) -> Shown:
    administrator = profile["name"] == "Administrator"
    with call.store.reading() as db:
        owner = list_users(db, call.organisation.zgid)[0]
    by = {"name": owner.full_name, "id": str(owner.id)}
    shown = {
        **profile,
        "display_label": profile["name"],
        "type": "normal_profile",
        "custom": False,
        "default": not administrator,
        "description": None,
        "category": False,
        "created_by": by,
        "modified_by": by,
        "created_time": call.iso(call.organisation.created),
        "modified_time": call.iso(call.organisation.created),
    }
    if not whole:
        return shown
    permissions = [
        {
            "id": f"{profile['id']}{position}",
            "name": name,
            "display_label": label,
            "module": None,
            "customizable": False,
            "enabled": enabled,
            "parent_permissions": None,
        }
        for position, (name, label, enabled) in enumerate(
            ((API_ACCESS, "API Access", True), (CUSTOMISE, "Module Customization", administrator))
        )
    ]
    names = [each["name"] for each in permissions]
    category = {"name": "setup", "display_label": "Setup", "permissions_details": names}
    return {
        **shown,
        "permissions_details": permissions,
        "sections": [{"name": "setup", "categories": [category]}],
    }


ROUTES = (
    route("GET", "settings/roles", "settings.roles read", list_roles),
    route("GET", "settings/roles/{role_id}", "settings.roles read", get_role),
    route("GET", "settings/profiles", "settings.profiles read", list_profiles),
    route("GET", "settings/profiles/{profile_id}", "settings.profiles read", get_profile),
)
