"""The organisation and its users. Source: Zoho CRM v7 get-org-data and get-users."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from farebox.crm.access import roles
from farebox.crm.call import Answer, Call
from farebox.crm.errors import invalid_param, invalid_path_id, limit_exceeded
from farebox.crm.metadata import profiles
from farebox.crm.organisations import User, list_users
from farebox.crm.route import route
from farebox.crm.validate import parse_id

IDS_MAX = 100
PER_PAGE_MAX = 200
ZUID_OFFSET = 10_000_000

Shown = dict[str, Any]


def _is_active(user: User) -> bool:
    return user.status == "active"


def _is_living(user: User) -> bool:
    return user.status != "deleted"


TYPES: dict[str, Callable[[User], bool]] = {
    "AllUsers": _is_living,
    "ActiveUsers": _is_active,
    "DeactiveUsers": lambda user: user.status == "disabled",
    "ConfirmedUsers": lambda user: _is_living(user) and user.confirmed,
    "NotConfirmedUsers": lambda user: _is_living(user) and not user.confirmed,
    "DeletedUsers": lambda user: user.status == "deleted",
    "ActiveConfirmedUsers": lambda user: _is_active(user) and user.confirmed,
    "AdminUsers": lambda user: _is_living(user) and user.admin,
    "ActiveConfirmedAdmins": lambda user: _is_active(user) and user.confirmed and user.admin,
}
"""Who is in a list by its `type`; CurrentUser is the one who calls."""


def get_organisation(call: Call) -> Answer:
    """`GET /org`."""
    organisation = call.organisation
    with call.store.reading() as db:
        users = list_users(db, organisation.zgid)
    owner = users[0]
    free = organisation.edition.lower() == "free"
    org = {
        "id": str(organisation.full_id(225_013)),
        "zgid": str(organisation.zgid),
        "company_name": organisation.name,
        "type": "bigin" if organisation.product == "bigin" else "production",
        "primary_email": owner.email,
        "primary_zuid": _zuid(call, owner),
        "domain_name": f"org{organisation.zgid}",
        "time_zone": owner.time_zone,
        "currency": "US Dollar - USD",
        "currency_symbol": "$",
        "currency_locale": "en_US",
        "iso_code": "USD",
        "country_code": "US",
        "country": "US",
        "mc_status": False,
        "license_details": {
            "paid": not free,
            "paid_type": organisation.edition,
            "users_license_purchased": sum(_is_active(user) for user in users),
            "portal_users_license_purchased": 0,
            "paid_expiry": None,
            "trial_type": None,
            "trial_expiry": None,
        },
        "hierarchy_preferences": {"type": "ROLE_HIERARCHY"},
        "hipaa_compliance_enabled": False,
        "privacy_settings": False,
        "created_time": call.iso(organisation.created),
    }
    return Answer(status=200, payload={"org": [org]})


def get_users(call: Call) -> Answer:
    """`GET /users?type=&ids=&page=&per_page=`: 204 when there is none."""
    kind = call.choice("type", (*TYPES, "CurrentUser"), default="AllUsers")
    page = call.integer("page", default=1, minimum=1, maximum=10**6)
    most = call.at_most(PER_PAGE_MAX)
    per_page = call.integer("per_page", default=most, minimum=1, maximum=most)
    with call.store.reading() as db:
        everyone = list_users(db, call.organisation.zgid)
    wanted = [call.user] if kind == "CurrentUser" else [user for user in everyone if TYPES[kind](user)]
    ids = _ids(call)
    if ids is not None:
        wanted = [user for user in wanted if user.id in ids]
    start = (page - 1) * per_page
    shown = wanted[start : start + per_page]
    if not shown:
        return Answer(status=204)
    info = {
        "per_page": per_page,
        "count": len(shown),
        "page": page,
        "more_records": start + per_page < len(wanted),
    }
    return Answer(status=200, payload={"users": [_user(call, user, owner=everyone[0]) for user in shown], "info": info})


def get_user(call: Call, *, user_id: int) -> Answer:
    """`GET /users/{id}`."""
    with call.store.reading() as db:
        everyone = list_users(db, call.organisation.zgid)
    for user in everyone:
        if user.id == user_id:
            return Answer(status=200, payload={"users": [_user(call, user, owner=everyone[0])]})
    raise invalid_path_id(1)


def _ids(call: Call) -> frozenset[int] | None:
    given = call.params.get("ids")
    if given is None:
        return None
    ids = [parse_id(each.strip()) for each in given.split(",")]
    if len(ids) > IDS_MAX:
        raise limit_exceeded(limit=IDS_MAX, param_name="ids")
    if None in ids:
        raise invalid_param("ids", expected_data_type="bigint")
    return frozenset(each for each in ids if each is not None)


def _zuid(call: Call, user: User) -> str:
    return str(ZUID_OFFSET + call.organisation.zgid + user.id % 1_000_000)


def _user(call: Call, user: User, *, owner: User) -> Shown:
    administrator, standard = profiles(call)
    ceo, manager = roles(call)
    by = {"name": owner.full_name, "id": str(owner.id)}
    created = call.iso(user.created)
    offset = datetime.fromtimestamp(call.at, user.zone).utcoffset()
    return {
        "id": str(user.id),
        "zuid": _zuid(call, user),
        "full_name": user.full_name,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        "status": user.status,
        "confirm": user.confirmed,
        "role": ceo if user.admin else manager,
        "profile": administrator if user.admin else standard,
        "time_zone": user.time_zone,
        "locale": "en_US",
        "language": "en_US",
        "country": "US",
        "country_locale": "en_US",
        "created_by": by,
        "created_time": created,
        "Modified_By": by,
        "Modified_Time": created,
        "Isonline": user.id == call.user.id,
        "type__s": "Regular User",
        "personal_account": False,
        "default_tab_group": "0",
        "offset": int(offset.total_seconds() * 1_000) if offset is not None else 0,
        "date_format": "MM/dd/yyyy",
        "time_format": "hh:mm a",
        "alias": None,
        "phone": None,
        "mobile": None,
        "microsoft": False,
        "telephony_enabled": False,
        "imap_status": False,
        "ntc_enabled": False,
        "ntc_notification_type": [],
        "sort_order_preference__s": "First Name,Last Name",
        "category": "regular_user",
        "status_reason__s": None,
        "sandboxDeveloper": False,
    }


ROUTES = (
    route("GET", "org", "org read", get_organisation),
    route("GET", "users", "users read", get_users),
    route("GET", "users/{user_id}", "users read", get_user),
)
