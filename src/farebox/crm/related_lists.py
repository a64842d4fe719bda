"""Which related lists a module has: a rule over the catalogue, shared by the records' paths and the settings.

Each look-up of a module B to a module A gives A a list of B; a look-up that may lead anywhere gives one to every module
that has no such look-up itself. Links (products, contact roles, campaigns) join two records without a look-up.
"""

from dataclasses import dataclass
from typing import Final

from farebox.crm.organisations import Organisation
from farebox.crm.schema import ANY_MODULE, DataType, Field, Module

ATTACHMENTS: Final = "Attachments"
NOTES: Final = "Notes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A kind of link between a record of `left` and one of `right`, and the list's name on either side.

    `right_list` None: only the left side lists them. `detail` names what a link says of itself, if anything.
    """

    kind: str
    left: str
    right: str
    left_list: str
    right_list: str | None
    detail: str | None = None


LINKS: Final = (
    *(
        Link(kind="Products", left=module, right="Products", left_list="Products", right_list=module)
        for module in ("Leads", "Contacts", "Accounts", "Deals", "Pipelines")
    ),
    *(
        Link(
            kind="Contact_Roles",
            left=module,
            right="Contacts",
            left_list="Contact_Roles",
            right_list=None,
            detail="Contact_Role",
        )
        for module in ("Deals", "Pipelines")
    ),
    *(
        Link(kind="Campaigns", left=module, right="Campaigns", left_list="Campaigns", right_list=module)
        for module in ("Leads", "Contacts")
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedList:
    """A list under a record. `module` is whose records it holds (attachments are no records: None).

    Either `field`, the look-up of that module that leads here, or `link`, from the side that `from_left` says.
    """

    api_name: str
    label: str
    module: str | None
    field: Field | None = None
    link: Link | None = None
    from_left: bool = True


def related_lists(organisation: Organisation, module: Module) -> tuple[RelatedList, ...]:
    """The module's related lists, notes and attachments first; no two of the same name. Subforms have none."""
    if module.is_subform:
        return ()
    found: dict[str, RelatedList] = {}
    for each in (*_by_lookup(organisation, module), *_by_link(organisation, module)):
        found.setdefault(each.api_name, each)
    first = [found.pop(NOTES)] if NOTES in found else []
    attachments = RelatedList(api_name=ATTACHMENTS, label=ATTACHMENTS, module=None)
    return (*first, attachments, *found.values())


def find_related_list(organisation: Organisation, module: Module, api_name: str) -> RelatedList | None:
    """The module's related list of this name; letters count in either case."""
    wanted = api_name.lower()
    return next((each for each in related_lists(organisation, module) if each.api_name.lower() == wanted), None)


def _by_lookup(organisation: Organisation, module: Module) -> list[RelatedList]:
    lists = []
    for other in organisation.catalogue.values():
        fields = [] if other.is_subform else [each for each in other.fields if _leads_to(each, module)]
        fields.sort(key=lambda each: each.target == ANY_MODULE)
        for position, field in enumerate(fields):
            lists.append(
                RelatedList(
                    # the first look-up's list has the module's name, a further one's that of the field too
                    api_name=other.api_name if position == 0 else f"{other.api_name}_{field.api_name}",
                    label=other.plural if position == 0 else f"{other.plural} ({field.label})",
                    module=other.api_name,
                    field=field,
                )
            )
    return lists


def _leads_to(field: Field, module: Module) -> bool:
    if field.data_type is not DataType.LOOKUP:
        return False
    if field.target == ANY_MODULE:
        return field.api_name not in module.by_name and module.api_name != NOTES
    return field.target == module.api_name


def _by_link(organisation: Organisation, module: Module) -> list[RelatedList]:
    lists = []
    for link in LINKS:
        if link.left not in organisation.catalogue or link.right not in organisation.catalogue:
            continue
        for side, other, name, from_left in (
            (link.left, link.right, link.left_list, True),
            (link.right, link.left, link.right_list, False),
        ):
            if side == module.api_name and name is not None:
                lists.append(
                    RelatedList(
                        api_name=name, label=name.replace("_", " "), module=other, link=link, from_left=from_left
                    )
                )
    return lists
