"""Layouts and related lists of a module: one layout, and the lists there are by rule; read only.

Source: Zoho CRM v8 layouts-meta and related-list-meta.
"""

import zlib
from typing import Any, Final

from farebox.crm.call import Answer, Call
from farebox.crm.errors import invalid_path_id
from farebox.crm.metadata import module_param, profiles, show_field
from farebox.crm.related_lists import RelatedList, related_lists
from farebox.crm.route import route
from farebox.crm.schema import DataType, Field, Module

LAYOUTS_SERIAL: Final = 330_000
SECTIONS_SERIAL: Final = 340_000
SECTIONS_PER_LAYOUT: Final = 10
LISTS_SERIAL: Final = 10**11
LISTS_PER_MODULE: Final = 10**7

Shown = dict[str, Any]


def list_layouts(call: Call) -> Answer:
    """`GET /settings/layouts?module=`: the one layout of a module."""
    return Answer(status=200, payload={"layouts": [_layout(call, module_param(call))]})


def get_layout(call: Call, *, layout_id: int) -> Answer:
    """`GET /settings/layouts/{id}?module=`."""
    module = module_param(call)
    if layout_id != _layout_id(call, module):
        raise invalid_path_id(2)
    return Answer(status=200, payload={"layouts": [_layout(call, module)]})


def list_related_lists(call: Call) -> Answer:
    """`GET /settings/related_lists?module=`; 204 for the rows of a subform, which have none."""
    shown = _related_lists(call, module_param(call))
    return Answer(status=200, payload={"related_lists": shown}) if shown else Answer(status=204)


def get_related_list(call: Call, *, list_id: int) -> Answer:
    """`GET /settings/related_lists/{id}?module=`."""
    for each in _related_lists(call, module_param(call)):
        if each["id"] == str(list_id):
            return Answer(status=200, payload={"related_lists": [each]})
    raise invalid_path_id(2)


def _layout_id(call: Call, module: Module) -> int:
    return call.organisation.full_id(LAYOUTS_SERIAL + module.number)


def _layout(call: Call, module: Module) -> Shown:
    organisation = call.organisation
    subforms = [each for each in module.fields if each.data_type is DataType.SUBFORM]
    plain = [each for each in module.fields if each.data_type is not DataType.SUBFORM]
    return {
        "id": str(_layout_id(call, module)),
        "name": "Standard",
        "api_name": "Standard__s",
        "display_label": "Standard",
        "generated_type": "custom" if module.generated_type == "custom" else "default",
        "status": "active",
        "visible": True,
        "source": "crm",
        "mode": None,
        "has_more_profiles": False,
        "show_business_card": True,
        "created_for": None,
        "created_by": None,
        "created_time": None,
        "modified_by": None,
        "modified_time": call.iso(organisation.changed(module)),
        "convert_mapping": None,
        "profiles": [{**each, "default": True} for each in profiles(call)],
        "sections": [
            _section(call, module, 0, f"{module.singular} Information", plain),
            *(_section(call, module, n, each.label, [each]) for n, each in enumerate(subforms, start=1)),
        ],
    }


def _section(call: Call, module: Module, position: int, label: str, fields: list[Field]) -> Shown:
    serial = SECTIONS_SERIAL + module.number * SECTIONS_PER_LAYOUT + position
    return {
        "id": str(call.organisation.full_id(serial)),
        "name": label,
        "api_name": label.replace(" ", "_"),
        "display_label": label,
        "sequence_number": position + 1,
        "column_count": 2,
        "tab_traversal": "left_to_right",
        "isSubformSection": position > 0,
        "generated_type": "default",
        "type": "used",
        "properties": None,
        "fields": [
            {**show_field(call, module, each), "required": each.mandatory, "sequence_number": number}
            for number, each in enumerate(fields, start=1)
        ],
    }


def _related_lists(call: Call, module: Module) -> list[Shown]:
    return [
        _related_list(call, module, each, number)
        for number, each in enumerate(related_lists(call.organisation, module), start=1)
    ]


def _related_list(call: Call, module: Module, each: RelatedList, number: int) -> Shown:
    organisation = call.organisation
    target = None if each.module is None else organisation.catalogue[each.module]
    # by its name, so that a new list does not give the others new ids
    serial = LISTS_SERIAL + module.number * LISTS_PER_MODULE + zlib.crc32(each.api_name.encode()) % LISTS_PER_MODULE
    return {
        "id": str(organisation.full_id(serial)),
        "api_name": each.api_name,
        "name": each.label,
        "display_label": each.label,
        "href": f"{module.api_name}/{{ENTITYID}}/{each.api_name}",
        "module": None if target is None else {"api_name": target.api_name, "id": str(organisation.module_id(target))},
        "type": "default" if target is None or target.generated_type == "default" else "custom_lookup",
        "sequence_number": str(number),
        "connectedmodule": None,
        "linkingmodule": None,
        "action": None,
        "visible": True,
        "status": "visible",
        "customize_fields": False,
        "customize_sort": False,
        "customize_display_label": False,
        "fields": [],
        "sort_by": None,
        "sort_order": None,
    }


ROUTES = (
    route("GET", "settings/layouts", "settings.layouts read", list_layouts),
    route("GET", "settings/layouts/{layout_id}", "settings.layouts read", get_layout),
    route("GET", "settings/related_lists", "settings.related_lists read", list_related_lists),
    route("GET", "settings/related_lists/{list_id}", "settings.related_lists read", get_related_list),
)
