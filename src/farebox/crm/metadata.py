"""What the API says about itself: modules and fields. Source: Zoho CRM v7 modules-api and field-meta."""

from typing import Any

from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError, invalid_module, invalid_module_param, invalid_path_id, param_missing
from farebox.crm.organisations import User, list_users
from farebox.crm.route import route
from farebox.crm.schema import ANY_MODULE, SYSTEM_NAMES, AutoNumber, DataType, Field, Module

PROFILES_SERIAL = 26_011
PICKLIST_SERIAL = 10_000_000_000
CURRENCY_DECIMALS = 2
SORTABLE = frozenset(DataType) - {DataType.TEXTAREA, DataType.MULTISELECT, DataType.SUBFORM}

Shown = dict[str, Any]


def list_modules(call: Call) -> Answer:
    """`GET /settings/modules`: 304 when no module changed since If-Modified-Since."""
    since = call.instant_header("if-modified-since")
    if since is not None and call.organisation.changed() <= since:
        return Answer(status=304)
    modules = call.organisation.catalogue.values()
    admin = _first_admin(call)
    return Answer(status=200, payload={"modules": [_module(call, each, admin) for each in modules]})


def get_module(call: Call, *, name: str) -> Answer:
    """`GET /settings/modules/{api_name or id}`."""
    module = call.organisation.module(name)
    if module is None:
        raise invalid_module(resource_path_index=2)
    return Answer(status=200, payload={"modules": [_module(call, module, _first_admin(call))]})


def list_fields(call: Call) -> Answer:
    """`GET /settings/fields?module=`: all fields of a module; `type=unused` has none (204).

    304 when none changed since If-Modified-Since.
    """
    module = module_param(call)
    since = call.instant_header("if-modified-since")
    if since is not None and call.organisation.changed(module) <= since:
        return Answer(status=304)
    if call.choice("type", ("all", "unused", "used"), default="all") == "unused":
        return Answer(status=204)
    return Answer(status=200, payload={"fields": [show_field(call, module, each) for each in module.fields]})


def get_field(call: Call, *, field_id: int) -> Answer:
    """`GET /settings/fields/{id}?module=`."""
    module = module_param(call)
    for each in module.fields:
        if call.organisation.field_id(module, each.api_name) == field_id:
            return Answer(status=200, payload={"fields": [show_field(call, module, each)]})
    raise invalid_path_id(2)


def module_param(call: Call) -> Module:
    """The module that the `module` parameter names; raises REQUIRED_PARAM_MISSING or INVALID_MODULE."""
    name = call.params.get("module")
    if not name:
        raise param_missing("module")
    module = call.organisation.module(name)
    if module is None:
        raise invalid_module_param()
    return module


def _first_admin(call: Call) -> User:
    with call.store.reading() as db:
        return list_users(db, call.organisation.zgid)[0]


def profiles(call: Call) -> list[Shown]:
    """The two profiles every organisation has."""
    return [
        {"name": name, "id": str(call.organisation.full_id(PROFILES_SERIAL + offset))}
        for offset, name in enumerate(("Administrator", "Standard"))
    ]


def _module(call: Call, module: Module, admin: User) -> Shown:
    custom = module.generated_type == "custom"
    modules = list(call.organisation.catalogue)
    own = not module.is_subform
    return {
        "api_name": module.api_name,
        "module_name": f"CustomModule{module.number}" if custom else module.api_name,
        "id": str(call.organisation.module_id(module)),
        "singular_label": module.singular,
        "plural_label": module.plural,
        "actual_singular_label": module.singular,
        "actual_plural_label": module.plural,
        "generated_type": module.generated_type,
        "api_supported": own,
        "viewable": own,
        "creatable": own,
        "editable": own,
        "deletable": own,
        "convertable": module.api_name == "Leads",
        "quick_create": own,
        "visibility": 1 if own else 0,
        "visible": own,
        "show_as_tab": own and module.api_name != "Notes",
        "status": "visible",
        "sequence_number": modules.index(module.api_name) + 1,
        "profiles": profiles(call),
        "profile_count": 2,
        "modified_by": {"name": admin.full_name, "id": str(admin.id)} if custom else None,
        "modified_time": call.iso(call.organisation.changed(module)) if custom else None,
        "parent_module": {},
        "arguments": [],
        "web_link": None,
        "business_card_field_limit": 5,
        "has_more_profiles": False,
        "access_type": "org_based",
        "private_profile": None,
        "description": None,
        "recycle_bin_on_delete": own,
        "feeds_required": False,
        "global_search_supported": own,
        "presence_sub_menu": own,
        "sub_menu_available": own,
        "triggers_supported": own,
        "webform_supported": own,
        "isBlueprintSupported": own,
    }


def show_field(call: Call, module: Module, each: Field) -> Shown:
    """A field as settings/fields shows it; long because the original's answer has so many keys."""
    organisation = call.organisation
    writable = not each.read_only
    system = each.api_name in SYSTEM_NAMES
    return {
        "id": str(organisation.field_id(module, each.api_name)),
        "api_name": each.api_name,
        "field_label": each.label,
        "display_label": each.label,
        "column_name": each.api_name.upper(),
        "data_type": str(each.data_type),
        "json_type": "jsonarray" if each.api_name == "Tag" else each.json_type,
        "length": each.length,
        "decimal_place": CURRENCY_DECIMALS if each.data_type is DataType.CURRENCY else None,
        "system_mandatory": each.mandatory,
        "custom_field": each.custom,
        "read_only": each.read_only,
        "field_read_only": each.read_only,
        "visible": True,
        "searchable": each.data_type is not DataType.SUBFORM,
        "sortable": each.data_type in SORTABLE,
        "filterable": each.data_type is not DataType.SUBFORM,
        "mass_update": writable and not each.unique and each.data_type is not DataType.SUBFORM,
        "webhook": each.data_type is not DataType.SUBFORM,
        "virtual_field": each.api_name == "Full_Name",
        "display_field": each.api_name == module.name_fields[-1],
        "separator": each.data_type in (DataType.CURRENCY, DataType.INTEGER),
        "unique": {"casesensitive": "false"} if each.unique else {},
        "lookup": _lookup(call, module, each),
        "multiselectlookup": {},
        "associated_module": {"module": each.target, "api_name": each.target, "id": _target_id(call, each)}
        if each.data_type is DataType.SUBFORM
        else None,
        "formula": {},
        "rollup_summary": {},
        "currency": {"rounding_option": "normal", "precision": CURRENCY_DECIMALS}
        if each.data_type is DataType.CURRENCY
        else {},
        "auto_number": _auto_number(each),
        "pick_list_values": _choices(call, module, each),
        "pick_list_values_sorted_lexically": False,
        "default_value": None,
        "operation_type": {
            "web_update": writable,
            "api_create": writable,
            "web_create": writable,
            "api_update": writable,
        },
        "view_type": {"view": True, "edit": writable, "quick_create": each.mandatory, "create": writable},
        "profiles": [{**profile, "permission_type": "read_write"} for profile in profiles(call)],
        "layout_associations": [],
        "created_source": "default",
        "ui_type": 1,
        "type": "used",
        "tooltip": None,
        "crypt": None,
        "external": None,
        "history_tracking": None,
        "convert_mapping": None,
        "hipaa_compliance_enabled": False,
        "static_field": system,
    }


def _auto_number(each: Field) -> Shown:
    if each.data_type is not DataType.AUTONUMBER:
        return {}
    form = each.auto_number or AutoNumber()
    return {"prefix": form.prefix, "suffix": form.suffix, "start_number": form.start}


def _lookup(call: Call, module: Module, each: Field) -> Shown:
    if each.data_type is not DataType.LOOKUP:
        return {}
    return {
        "display_label": each.label,
        "api_name": None,
        "query_details": {},
        "module": {"id": _target_id(call, each), "api_name": each.target},
        "id": str(call.organisation.field_id(module, each.api_name)),
    }


def _target_id(call: Call, each: Field) -> str:
    if each.target is None or each.target == ANY_MODULE:
        return str(call.organisation.full_id(2_000))
    target = call.organisation.catalogue.get(each.target)
    if target is None:
        raise ApiError(500, "INTERNAL_ERROR", f"the catalogue has no module {each.target}")
    return str(call.organisation.module_id(target))


def _choices(call: Call, module: Module, each: Field) -> list[Shown]:
    field_serial = call.organisation.field_id(module, each.api_name) - call.organisation.full_id(0)
    return [
        {
            "id": str(call.organisation.full_id(PICKLIST_SERIAL + field_serial * 1_000 + position)),
            "display_value": choice,
            "actual_value": choice,
            "reference_value": choice,
            "sequence_number": position + 1,
            "type": "used",
            "colour_code": None,
        }
        for position, choice in enumerate(each.choices)
    ]


ROUTES = (
    route("GET", "settings/modules", "settings.modules read", list_modules),
    route("GET", "settings/modules/{name}", "settings.modules read", get_module),
    route("GET", "settings/fields", "settings.fields read", list_fields),
    route("GET", "settings/fields/{field_id}", "settings.fields read", get_field),
)
