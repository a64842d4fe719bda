"""The modules of a Bigin organisation, made from the CRM ones where they are the same.

Bigin calls deals `Pipelines` from v2 on and accounts "companies" on screen; the older words are
understood as aliases.
"""

from dataclasses import replace

from farebox.crm import catalogue_crm as crm
from farebox.crm.schema import Catalogue, DataType, Field, Module, make_field, make_module

SHARED_LEFT_OUT = frozenset({"Vendor_Name", "Assistant", "Reporting_To", "Skype_ID", "Twitter"})


def _without(module: Module, names: frozenset[str]) -> Module:
    return replace(module, fields=tuple(each for each in module.fields if each.api_name not in names))


def _pointing_at_pipelines(each: Field) -> Field:
    return replace(each, target="Pipelines") if each.target == "Deals" else each


PIPELINES = make_module(
    "Pipelines",
    number=4,
    name=("Deal_Name",),
    check="Deal_Name",
    aliases=("Deals",),
    fields=(
        make_field("Deal_Name", length=120, mandatory=True),
        make_field("Account_Name", DataType.LOOKUP, target="Accounts", label="Company Name"),
        make_field("Contact_Name", DataType.LOOKUP, target="Contacts"),
        make_field("Amount", DataType.CURRENCY),
        make_field("Closing_Date", DataType.DATE),
        make_field("Pipeline", DataType.PICKLIST, choices=("Sales Pipeline",)),
        make_field("Sub_Pipeline", DataType.PICKLIST, choices=("Sales Pipeline Standard",)),
        make_field(
            "Stage",
            DataType.PICKLIST,
            choices=(
                "Qualification",
                "Needs Analysis",
                "Proposal/Price Quote",
                "Negotiation/Review",
                "Closed Won",
                "Closed Lost",
            ),
            mandatory=True,
        ),
        make_field("Probability", DataType.INTEGER),
        crm.DESCRIPTION,
    ),
)

BIGIN: Catalogue = {
    module.api_name: replace(module, fields=tuple(map(_pointing_at_pipelines, module.fields)))
    for module in (
        _without(crm.CONTACTS, SHARED_LEFT_OUT),
        replace(crm.ACCOUNTS, singular="Company", plural="Companies", aliases=("Companies",)),
        PIPELINES,
        crm.TASKS,
        crm.EVENTS,
        crm.CALLS,
        _without(crm.PRODUCTS, SHARED_LEFT_OUT),
        crm.NOTES,
    )
}
"""The modules of a Bigin organisation, in menu order."""

CATALOGUES: dict[str, Catalogue] = {"crm": crm.CRM, "bigin": BIGIN}
"""The modules of an organisation by its product."""
