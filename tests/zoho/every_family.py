"""The API's families by Zoho's Python SDK, before each call its cost; long because it is read in one go.

Usage: every_family.py BASE_URL CLIENT_ID CLIENT_SECRET REFRESH_TOKEN DIRECTORY, with leads.zip in that directory.
Prints, as one line of JSON, the calls that were made: operation, module and credits, as Zoho's page of API limits
prices them.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, Initializer, ParameterMap, bulk_read, bulk_write, notifications
from zohocrmsdk.src.com.zoho.crm.api.apis import APIsOperations
from zohocrmsdk.src.com.zoho.crm.api.attachments import (
    AttachmentsOperations,
    FileBodyWrapper,
    GetAttachmentsParam,
    UploadUrlAttachmentsParam,
)
from zohocrmsdk.src.com.zoho.crm.api.bulk_read import BulkReadOperations
from zohocrmsdk.src.com.zoho.crm.api.bulk_write import BulkWriteOperations, UploadFileHeader
from zohocrmsdk.src.com.zoho.crm.api.convert_lead import BodyWrapper as ConvertBody
from zohocrmsdk.src.com.zoho.crm.api.convert_lead import ConvertLeadOperations, LeadConverter
from zohocrmsdk.src.com.zoho.crm.api.coql import BodyWrapper as Query
from zohocrmsdk.src.com.zoho.crm.api.coql import CoqlOperations
from zohocrmsdk.src.com.zoho.crm.api.custom_views import CustomViewsOperations, GetCustomViewParam, GetCustomViewsParam
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.features import FeaturesOperations
from zohocrmsdk.src.com.zoho.crm.api.fields import BodyWrapper as FieldsBody
from zohocrmsdk.src.com.zoho.crm.api.fields import CreateFieldParam, Fields, FieldsOperations, GetFieldsParam
from zohocrmsdk.src.com.zoho.crm.api.files import BodyWrapper as FilesBody
from zohocrmsdk.src.com.zoho.crm.api.files import FilesOperations, GetFileParam
from zohocrmsdk.src.com.zoho.crm.api.find_and_merge import BodyWrapper as MergeBody
from zohocrmsdk.src.com.zoho.crm.api.find_and_merge import FindAndMergeOperations, Merge, MergeData
from zohocrmsdk.src.com.zoho.crm.api.layouts import GetLayoutsParam, LayoutsOperations
from zohocrmsdk.src.com.zoho.crm.api.mass_convert import BodyWrapper as MassConvertBody
from zohocrmsdk.src.com.zoho.crm.api.mass_convert import GetJobStatusParam, MassConvertOperations
from zohocrmsdk.src.com.zoho.crm.api.mass_delete_cvid import (
    CvidBodyWrapper,
    GetMassDeleteStatusParam,
    MassDeleteCvidOperations,
    RecordIdBodyWrapper,
)
from zohocrmsdk.src.com.zoho.crm.api.modules import MinifiedModule, ModulesOperations
from zohocrmsdk.src.com.zoho.crm.api.notes import BodyWrapper as NotesBody
from zohocrmsdk.src.com.zoho.crm.api.notes import GetNoteParam, GetNotesParam, Note, NotesOperations, ParentId
from zohocrmsdk.src.com.zoho.crm.api.notifications import (
    DeleteNotificationParam,
    GetNotificationsParam,
    Notification,
    NotificationsOperations,
)
from zohocrmsdk.src.com.zoho.crm.api.org import OrgOperations
from zohocrmsdk.src.com.zoho.crm.api.profiles import ProfilesOperations
from zohocrmsdk.src.com.zoho.crm.api.record import (
    BodyWrapper,
    DeleteRecordsParam,
    GetDeletedRecordsParam,
    GetMassUpdateStatusParam,
    GetRecordHeader,
    GetRecordsHeader,
    GetRecordsParam,
    MassUpdateBodyWrapper,
    Record,
    RecordCountParam,
    RecordOperations,
    SearchRecordsParam,
)
from zohocrmsdk.src.com.zoho.crm.api.related_lists import GetRelatedListsParam, RelatedListsOperations
from zohocrmsdk.src.com.zoho.crm.api.related_records import BodyWrapper as RelatedBody
from zohocrmsdk.src.com.zoho.crm.api.related_records import (
    DelinkRecordsParam,
    GetRelatedRecordsParam,
    RelatedRecordsOperations,
)
from zohocrmsdk.src.com.zoho.crm.api.roles import RolesOperations
from zohocrmsdk.src.com.zoho.crm.api.tags import BodyWrapper as TagsBody
from zohocrmsdk.src.com.zoho.crm.api.tags import (
    CreateTagsParam,
    ExistingTag,
    ExistingTagRequestWrapper,
    GetTagsParam,
    NewTagRequestWrapper,
    Tag,
    TagsOperations,
)
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations
from zohocrmsdk.src.com.zoho.crm.api.util import Choice, StreamWrapper

WAIT_SECONDS = 60
CALLS: list[tuple[str, str, int]] = []


def costs(operation: str, module: str, credits: int) -> None:  # noqa: A002 (the word of the table)
    """The next call is this one."""
    CALLS.append((operation, module, credits))


def learns(*modules: str) -> None:
    """Before its first call on a module the SDK fetches the fields of it, and of what its look-ups lead to."""
    for module in modules:
        costs("get_fields", module, 1)


def params(*values: tuple[Any, Any]) -> ParameterMap:
    """Parameters and their values."""
    made = ParameterMap()
    for parameter, value in values:
        made.add(parameter, value)
    return made


def filled(target: Any, **values: Any) -> Any:
    """The SDK's object with these attributes."""
    for name, value in values.items():
        getattr(target, f"set_{name}")(value)
    return target


def record(record_id: str | None = None, **values: Any) -> Record:
    """A record of the SDK."""
    made = Record()
    if record_id is not None:
        made.set_id(int(record_id))
    for name, value in values.items():
        made.add_key_value(name, value)
    return made


def body(*records: Record, **more: Any) -> BodyWrapper:
    """What writes take."""
    return filled(BodyWrapper(), data=list(records), **more)


def seen(response: Any, status: int = 200) -> Any:
    """What the SDK understood of an answer that has the expected status and is no refusal."""
    found = response.get_object()
    assert response.get_status_code() == status, (response.get_status_code(), shown(found))
    assert "APIException" not in type(found).__name__, shown(found)
    return found


def shown(found: Any) -> Any:
    """Code and details of a refusal."""
    return (found.get_code().get_value(), found.get_details()) if hasattr(found, "get_code") else found


def each(response: Any, status: int = 200) -> list[dict[str, Any]]:
    """The details of every record's result, all of which must be good."""
    results = seen(response, status).get_data()
    assert [type(result).__name__ for result in results] == ["SuccessResponse"] * len(results), map(shown, results)
    return [result.get_details() for result in results]


def poll(job: Callable[[], Any], *, operation: str, module: str = "", until: Callable[[Any], bool]) -> Any:
    """Ask for a job's state until it is done; each time costs a credit."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        costs(operation, module, 1)
        found = job()
        if until(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


# ------------------------------------------------------------------------------------------------ the beginning


def initialise(base: str, client_id: str, secret: str, refresh_token: str, directory: str) -> None:
    Initializer.initialize(
        environment=DataCenter.Environment(base, f"{base}/oauth/v2/token", base),
        token=OAuthToken(client_id=client_id, client_secret=secret, refresh_token=refresh_token),
        store=FileStore(f"{directory}/tokens.csv"),
        resource_path=directory,
    )
    costs("get_users", "users", 1)  # who am I, and in which organisation: the SDK asks before its first call
    costs("get_organisation", "org", 1)


def users_and_organisation() -> str:
    costs("get_users", "users", 1)
    users = seen(UsersOperations().get_users(params((GetUsersParam.type, "ActiveUsers")), HeaderMap())).get_users()
    assert len(users) == 3
    costs("get_user", "users", 1)
    (one,) = seen(UsersOperations().get_user(users[0].get_id(), HeaderMap())).get_users()
    assert one.get_email() == users[0].get_email()
    costs("get_organisation", "org", 1)
    (org,) = seen(OrgOperations().get_organization()).get_org()
    return str(org.get_zgid())


def people_and_places() -> None:
    """Layouts and related lists of a module, roles and profiles of the organisation."""
    costs("get_layouts", "Leads", 1)
    (layout,) = seen(LayoutsOperations().get_layouts(params((GetLayoutsParam.module, "Leads")))).get_layouts()
    assert layout.get_sections()
    costs("get_related_lists", "Leads", 1)
    lists = seen(RelatedListsOperations().get_related_lists(params((GetRelatedListsParam.module, "Leads"))))
    assert "Notes" in {one.get_api_name() for one in lists.get_related_lists()}
    costs("get_roles", "roles", 1)
    assert seen(RolesOperations().get_roles()).get_roles()
    costs("get_profiles", "profiles", 1)
    assert seen(ProfilesOperations().get_profiles()).get_profiles()


def attachments(lead: str, directory: str) -> None:
    """A file on a lead: up, listed, down again, away."""
    operations = AttachmentsOperations()
    file = filled(FileBodyWrapper(), file=StreamWrapper(file_path=f"{directory}/leads.zip"))
    costs("attachments", "Leads", 1)
    (made,) = each(operations.upload_attachments(int(lead), "Leads", file))
    costs("attachments", "Leads", 1)
    wanted = params((GetAttachmentsParam.fields, "id,File_Name"))
    (found,) = seen(operations.get_attachments(int(lead), "Leads", wanted)).get_data()
    assert found.get_file_name() == "leads.zip"
    costs("attachment", "Leads", 1)
    down = seen(operations.get_attachment(int(made["id"]), int(lead), "Leads")).get_file()
    assert b"".join(down.get_stream()) == Path(directory, "leads.zip").read_bytes()
    costs("attachment", "Leads", 1)
    each(operations.delete_attachment(int(made["id"]), int(lead), "Leads"))
    address = "https://files.example/terms.pdf"
    linked = params((UploadUrlAttachmentsParam.attachmenturl, address), (UploadUrlAttachmentsParam.title, "Terms"))
    costs("attachments", "Leads", 1)
    (made,) = each(operations.upload_url_attachments(int(lead), "Leads", linked))
    costs("attachments", "Leads", 1)
    wanted = params((GetAttachmentsParam.fields, "id,File_Name"))
    (found,) = seen(operations.get_attachments(int(lead), "Leads", wanted)).get_data()
    assert (str(found.get_id()), found.get_file_name()) == (str(made["id"]), "Terms")


def files(directory: str) -> None:
    """A file of nobody's yet: up and down again."""
    upload = filled(FilesBody(), file=[StreamWrapper(file_path=f"{directory}/leads.zip")])
    costs("files", "files", 1)
    (made,) = each(FilesOperations().upload_files(upload, ParameterMap()))
    costs("files", "files", 1)
    down = seen(FilesOperations().get_file(params((GetFileParam.id, made["id"])))).get_file()
    assert b"".join(down.get_stream()) == Path(directory, "leads.zip").read_bytes()


def what_there_is() -> None:
    """The API's own list of its paths, and of what the organisation may use."""
    costs("list_apis", "settings", 1)
    paths = {one.get_path() for one in seen(APIsOperations().get_supported_api()).get_apis()}
    assert "/crm/v8/coql" in paths, paths
    costs("get_features", "settings", 1)
    (feature,) = seen(FeaturesOperations().get_feature_details(ParameterMap())).get_features()
    costs("get_feature", "settings", 1)
    (licences,) = seen(FeaturesOperations().get_feature_detail(feature.get_api_name(), ParameterMap())).get_features()
    assert licences.get_api_name() == "user_licenses"


def metadata() -> None:
    costs("get_modules", "settings", 1)
    modules = seen(ModulesOperations().get_modules(ParameterMap(), HeaderMap())).get_modules()
    assert {"Leads", "Contacts"} < {module.get_api_name() for module in modules}
    costs("get_module", "Leads", 1)
    (leads,) = seen(ModulesOperations().get_module_by_api_name("Leads")).get_modules()
    costs("get_fields", "Leads", 1)
    fields = seen(FieldsOperations().get_fields(params((GetFieldsParam.module, "Leads")))).get_fields()
    costs("get_field", "Leads", 1)
    (field,) = seen(
        FieldsOperations().get_field(fields[0].get_id(), params((GetFieldsParam.module, leads.get_api_name())))
    ).get_fields()
    assert field.get_api_name() == fields[0].get_api_name()
    costs("create_fields", "Leads", 10)  # 10 for each field
    colour = filled(Fields(), field_label="Colour", data_type="text", length=40)
    fields_of = params((CreateFieldParam.module, "Leads"))
    made = seen(FieldsOperations().create_field(filled(FieldsBody(), fields=[colour]), fields_of), 201)
    assert [one.get_code().get_value() for one in made.get_fields()] == ["SUCCESS"]


# ------------------------------------------------------------------------------------------------------ records


def records() -> list[str]:
    """Inserts, lists, gets and updates leads; the ids of thirty of them."""
    leads = RecordOperations("Leads")
    learns("Leads")
    costs("insert_records", "Leads", 1)
    made = each(leads.create_records(body(record(Last_Name="First", Company="Acme")), HeaderMap()), 201)
    batch = [record(Last_Name=f"Lead {n}", Company="Acme", Email=f"lead{n}@acme.example") for n in range(29)]
    costs("insert_records", "Leads", 3)  # 29 records, one credit for each 10 begun
    made += each(leads.create_records(body(*batch), HeaderMap()), 201)
    ids = [str(details["id"]) for details in made]

    costs("get_records", "Leads", 1)
    page = seen(
        leads.get_records(params((GetRecordsParam.fields, "Last_Name"), (GetRecordsParam.per_page, 20)), HeaderMap())
    )
    assert len(page.get_data()) == 20
    costs("get_records", "Leads", 1)
    rest = params(
        (GetRecordsParam.fields, "Last_Name"),
        (GetRecordsParam.per_page, 20),
        (GetRecordsParam.page_token, page.get_info().get_next_page_token()),
    )
    assert len(seen(leads.get_records(rest, HeaderMap())).get_data()) == 10
    costs("get_records_sorted", "Leads", 1)
    ordered = params((GetRecordsParam.fields, "Last_Name"), (GetRecordsParam.sort_by, "Created_Time"))
    assert len(seen(leads.get_records(ordered, HeaderMap())).get_data()) == 30
    costs("get_record", "Leads", 1)
    (one,) = seen(leads.get_record(int(ids[0]), ParameterMap(), HeaderMap())).get_data()
    assert one.get_key_value("Last_Name") == "First"
    headers = HeaderMap()
    headers.add(GetRecordHeader.if_modified_since, one.get_modified_time())
    costs("get_record", "Leads", 1)  # nothing new costs as much as something
    assert leads.get_record(int(ids[0]), ParameterMap(), headers).get_status_code() == 304
    for hours, status in ((-1, 200), (1, 304)):  # from now
        since = HeaderMap()
        since.add(GetRecordsHeader.if_modified_since, datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours))
        costs("get_records", "Leads", 1)
        listed = leads.get_records(params((GetRecordsParam.fields, "Last_Name")), since)
        assert listed.get_status_code() == status

    costs("update_record", "Leads", 1)
    each(leads.update_record(int(ids[0]), body(record(City="Denver")), HeaderMap()))
    costs("update_records", "Leads", 2)  # 11 records
    each(leads.update_records(body(*[record(each_id, City="Austin") for each_id in ids[1:12]]), HeaderMap()))
    costs("update_records", "Leads", 1)  # one is updated, the other is no lead
    mixed = leads.update_records(body(record(ids[1], City="Austin"), record("1", City="Austin")), HeaderMap())
    kinds = [type(result).__name__ for result in seen(mixed, 207).get_data()]
    assert kinds == ["SuccessResponse", "APIException"]
    again = record(Last_Name="Lead 0", Company="Acme", Email="lead0@acme.example")
    costs("upsert_records", "Leads", 1)
    each(leads.upsert_records(body(again, duplicate_check_fields=["Email"]), HeaderMap()))
    return ids


def finding() -> None:
    leads = RecordOperations("Leads")
    costs("search_records", "Leads", 1)
    found = leads.search_records(params((SearchRecordsParam.criteria, "(City:equals:Austin)")), HeaderMap())
    assert len(seen(found).get_data()) == 11
    costs("search_records", "Leads", 1)
    found = leads.search_records(params((SearchRecordsParam.email, "lead7@acme.example")), HeaderMap())
    assert len(seen(found).get_data()) == 1
    costs("search_records", "Leads", 1)
    assert len(seen(leads.search_records(params((SearchRecordsParam.word, "Denver")), HeaderMap())).get_data()) == 1
    costs("count_records", "Leads", 50)
    assert int(seen(leads.record_count(params((RecordCountParam.criteria, "(City:equals:Austin)")))).get_count()) == 11
    for limit, price in ((200, 1), (201, 2), (2_000, 3)):
        costs("query", "Leads", price)
        query = f"select Last_Name, Email from Leads where City = 'Austin' limit {limit}"
        assert len(seen(CoqlOperations().get_records(filled(Query(), select_query=query))).get_data()) == 11


def tags(ids: list[str]) -> None:
    """Tags made, put on one lead and on many, and taken off again."""
    operations = TagsOperations()
    costs("tag_metadata", "Leads", 1)
    new = filled(TagsBody(), tags=[filled(Tag(), name="hot"), filled(Tag(), name="cold")])
    made = seen(operations.create_tags(new, params((CreateTagsParam.module, "Leads"))), 201).get_tags()
    assert [one.get_code().get_value() for one in made] == ["SUCCESS", "SUCCESS"]
    costs("tag_metadata", "Leads", 1)
    listed = seen(operations.get_tags(params((GetTagsParam.module, "Leads")))).get_tags()
    assert {tag.get_name() for tag in listed} == {"hot", "cold"}
    costs("add_tags_to_record", "Leads", 1)
    hot = filled(NewTagRequestWrapper(), tags=[filled(Tag(), name="hot")])
    seen(operations.add_tags("Leads", int(ids[13]), hot))
    costs("remove_tags_from_record", "Leads", 1)
    seen(operations.remove_tags("Leads", int(ids[13]), filled(ExistingTagRequestWrapper(), tags=[existing("hot")])))
    costs("add_tags", "Leads", 1)  # 17 leads, one credit for each 50 begun
    cold = filled(NewTagRequestWrapper(), tags=[filled(Tag(), name="cold")], ids=[int(one) for one in ids[13:]])
    tagged = seen(operations.add_tags_to_multiple_records("Leads", cold))
    assert int(tagged.get_success_count()) == 17
    costs("remove_tags", "Leads", 1)
    off = filled(ExistingTagRequestWrapper(), tags=[existing("cold")], ids=[int(one) for one in ids[13:]])
    seen(operations.remove_tags_from_multiple_records("Leads", off))


def existing(name: str) -> ExistingTag:
    """A tag that is known by its name."""
    return filled(ExistingTag(), name=name)


def many_at_once(ids: list[str]) -> None:
    """The same change to many leads, then many deleted."""
    leads = RecordOperations("Leads")
    costs("mass_update", "Leads", 1)
    change = filled(MassUpdateBodyWrapper(), data=[record(City="Boston")], ids=ids[20:24], over_write=True)
    results = seen(leads.mass_update_records(change)).get_data()
    assert [type(result).__name__ for result in results] == ["MassUpdateSuccessResponse"] * 4
    made = [record(Last_Name=f"Mass {n}", Company="Acme") for n in range(100)]
    costs("insert_records", "Leads", 10)
    first = each(leads.create_records(body(*made), HeaderMap()), 201)
    costs("insert_records", "Leads", 1)
    first += each(leads.create_records(body(made[0]), HeaderMap()), 201)
    costs("mass_delete", "Leads", 2)  # 101 leads, one credit for each 100 begun
    doomed = filled(RecordIdBodyWrapper(), ids=[int(details["id"]) for details in first])
    each(MassDeleteCvidOperations("Leads").mass_delete_by_record_id(doomed))


def deleting(ids: list[str], merged: str) -> None:
    leads = RecordOperations("Leads")
    costs("delete_record", "Leads", 1)
    each(leads.delete_record(int(ids[0]), ParameterMap(), HeaderMap()))
    costs("delete_records", "Leads", 1)  # however many, up to 100
    each(leads.delete_records(params((DeleteRecordsParam.ids, ",".join(ids[1:13]))), HeaderMap()))
    costs("get_deleted_records", "Leads", 2)
    gone = seen(leads.get_deleted_records(params((GetDeletedRecordsParam.type, "all")), HeaderMap())).get_data()
    assert {str(one.get_id()) for one in gone} == {*ids[:13], merged}


def notes(lead: str) -> None:
    """A note on a lead, by the module of notes."""
    operations = NotesOperations()
    parent = filled(ParentId(), module=filled(MinifiedModule(), api_name="Leads"), id=int(lead))
    note = filled(Note(), note_title="Call", note_content="Tomorrow", parent_id=parent)
    costs("change_notes", "Notes", 1)
    (made,) = each(operations.create_notes(filled(NotesBody(), data=[note])), 201)
    note_id = int(made["id"])
    costs("get_notes", "Notes", 1)
    listed = operations.get_notes(params((GetNotesParam.fields, "Note_Title,Note_Content,Parent_Id")), HeaderMap())
    (found,) = seen(listed).get_data()
    assert (found.get_note_content(), found.get_parent_id().get_id()) == ("Tomorrow", int(lead))
    costs("get_record", "Notes", 1)
    one = operations.get_note(note_id, params((GetNoteParam.fields, "Note_Title,Note_Content")), HeaderMap())
    assert seen(one).get_data()[0].get_note_title() == "Call"
    later = filled(NotesBody(), data=[filled(Note(), note_content="Next week")])
    costs("update_record", "Notes", 1)
    each(operations.update_note(note_id, later))
    costs("delete_record", "Notes", 1)
    each(operations.delete_note(note_id))


def views() -> None:
    """The custom views of leads, and the leads of one."""
    costs("get_custom_views", "Leads", 1)
    found = seen(CustomViewsOperations().get_custom_views(params((GetCustomViewsParam.module, "Leads"))))
    all_leads = next(view for view in found.get_custom_views() if view.get_system_name() == "ALLVIEWS")
    costs("other_settings", "Leads", 1)
    ours = params((GetCustomViewParam.module, "Leads"))
    (one,) = seen(CustomViewsOperations().get_custom_view(all_leads.get_id(), ours)).get_custom_views()
    assert one.get_name() == all_leads.get_name()
    costs("get_records_by_view", "Leads", 3)  # three times what the same list costs without the view
    viewed = params((GetRecordsParam.fields, "Last_Name"), (GetRecordsParam.cvid, str(all_leads.get_id())))
    assert len(seen(RecordOperations("Leads").get_records(viewed, HeaderMap())).get_data()) == 30


def cloning_and_merging(lead: str) -> str:
    """A second lead like the first, then one again; its id."""
    costs("clone_record", "Leads", 1)
    (clone,) = each(RecordOperations("Leads").clone_record(int(lead)), 201)
    child = filled(MergeData(), id=int(clone["id"]))
    merge = filled(MergeBody(), merge=[filled(Merge(), data=[child])])
    costs("merge_records", "Leads", 50)
    merged = seen(FindAndMergeOperations("Leads", int(lead)).merge_records(merge))
    assert [one.get_code().get_value() for one in merged.get_merge()] == ["SUCCESS"]
    return str(clone["id"])


def converting(lead: str) -> None:
    """A lead becomes contact, account and deal."""
    deal = record(Deal_Name="First deal", Closing_Date=date(2030, 1, 31), Stage=Choice("Qualification"))
    converter = filled(LeadConverter(), overwrite=True, notify_lead_owner=False, deals=deal)
    learns("Deals", "Accounts", "Contacts", "Vendors", "Campaigns")
    costs("convert_lead", "Leads", 5)
    operations = ConvertLeadOperations(int(lead))
    (details,) = each(operations.convert_lead(filled(ConvertBody(), data=[converter])))
    assert {"Contacts", "Accounts", "Deals"} <= set(details)  # and it is no lead any more


def relating(lead: str) -> None:
    """Products put on a lead's list, listed there, and taken off."""
    learns("Products")
    costs("insert_records", "Products", 1)
    products = body(record(Product_Name="Pen"), record(Product_Name="Ink"))
    pen, ink = (
        str(made["id"]) for made in each(RecordOperations("Products").create_records(products, HeaderMap()), 201)
    )
    related = RelatedRecordsOperations("Products", "Leads")
    costs("get_related_lists", "Leads", 1)  # before its first call on a list the SDK asks which there are
    costs("related_records", "Leads", 1)
    both = filled(RelatedBody(), data=[record(pen), record(ink)])
    each(related.update_related_records(int(lead), both))
    costs("related_records", "Leads", 1)
    wanted = params((GetRelatedRecordsParam.fields, "Product_Name"))
    found = seen(related.get_related_records(int(lead), wanted, HeaderMap())).get_data()
    assert {one.get_key_value("Product_Name") for one in found} == {"Pen", "Ink"}
    costs("related_record", "Leads", 1)
    (one,) = seen(related.get_related_record(int(pen), int(lead), ParameterMap(), HeaderMap())).get_data()
    assert one.get_key_value("Product_Name") == "Pen"
    costs("related_record", "Leads", 1)
    each(related.delink_record(int(pen), int(lead)))
    costs("related_records", "Leads", 1)
    each(related.delink_records(int(lead), params((DelinkRecordsParam.ids, ink))))
    costs("related_record", "Leads", 1)
    each(related.update_related_record(int(pen), int(lead), filled(RelatedBody(), data=[record()])))


def by_jobs() -> None:
    """All products of a view changed and then deleted, and leads converted; each by a job."""
    costs("get_custom_views", "Products", 1)
    views = seen(CustomViewsOperations().get_custom_views(params((GetCustomViewsParam.module, "Products"))))
    everything = next(view for view in views.get_custom_views() if view.get_system_name() == "ALLVIEWS")
    products = RecordOperations("Products")
    change = filled(MassUpdateBodyWrapper(), data=[record(Product_Code="P1")], cvid=str(everything.get_id()))
    costs("mass_update", "Products", 1)
    (job,) = seen(products.mass_update_records(filled(change, over_write=True)), 202).get_data()
    job_id = str(job.get_details()["job_id"])
    (updated,) = poll(
        lambda: seen(products.get_mass_update_status(params((GetMassUpdateStatusParam.job_id, job_id)))).get_data(),
        operation="mass_update_status",
        module="Products",
        until=lambda found: found[0].get_status().get_value() == "COMPLETED",
    )
    assert (updated.get_updated_count(), updated.get_total_count()) == (2, 2)
    doomed = MassDeleteCvidOperations("Products")
    costs("mass_delete", "Products", 1)  # how many is not in the request: as up to 100
    (details,) = each(doomed.mass_delete_by_cvid(filled(CvidBodyWrapper(), cvid=everything.get_id())), 202)
    asked = params((GetMassDeleteStatusParam.job_id, int(details["job_id"])))
    (deleted,) = poll(
        lambda: seen(doomed.get_mass_delete_status(asked)).get_data(),
        operation="mass_delete_status",
        module="Products",
        until=lambda found: found[0].get_status().get_value() == "COMPLETED",
    )
    assert (deleted.get_deleted_count(), deleted.get_total_count()) == (2, 2)

    costs("insert_records", "Leads", 1)
    leads = body(record(Last_Name="Goes", Company="Acme"), record(Last_Name="Too", Company="Acme"))
    ids = [int(made["id"]) for made in each(RecordOperations("Leads").create_records(leads, HeaderMap()), 201)]
    conversion = MassConvertOperations()
    costs("mass_convert_leads", "Leads", 200)
    started = seen(conversion.mass_convert(filled(MassConvertBody(), ids=ids)), 202)
    wanted = params((GetJobStatusParam.job_id, int(started.get_details()["job_id"])))
    (converted,) = poll(
        lambda: seen(conversion.get_job_status(wanted)).get_data(),
        operation="mass_convert_status",
        module="Leads",
        until=lambda found: found[0].get_status() == "COMPLETED",
    )
    assert (converted.get_converted_count(), converted.get_total_count()) == (2, 2)


# ------------------------------------------------------------------------------------------------ notifications


def told() -> tuple[str, Queue[Any]]:
    """An address that takes notifications and callbacks, and what came there."""
    came: Queue[Any] = Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/hook", came


def notified(url: str, came: Queue[Any]) -> None:
    channel = "1000000068001"
    watch = NotificationsOperations()
    entry = filled(Notification(), channel_id=channel, events=["Contacts.create"], notify_url=url, token="t1")
    entry.set_channel_expiry(datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2))
    costs("watch", "notifications", 1)
    made = seen(watch.enable_notifications(filled(notifications.BodyWrapper(), watch=[entry])), 201)
    assert [one.get_code().get_value() for one in made.get_watch()] == ["SUCCESS"]
    costs("watch", "notifications", 1)
    (found,) = seen(watch.get_notifications(params((GetNotificationsParam.channel_id, int(channel))))).get_watch()
    assert found.get_notify_url() == url

    costs("insert_records", "Contacts", 1)
    (contact,) = each(RecordOperations("Contacts").create_records(body(record(Last_Name="Told")), HeaderMap()), 201)
    notice = came.get(timeout=WAIT_SECONDS)
    assert (notice["ids"], notice["operation"], notice["token"]) == ([str(contact["id"])], "insert", "t1")

    changed = filled(Notification(), channel_id=channel, events=["Contacts.edit", "Leads.edit"], notify_url=url)
    costs("watch", "notifications", 1)  # PUT replaces
    seen(watch.update_notifications(filled(notifications.BodyWrapper(), watch=[changed])))
    costs("watch", "notifications", 1)  # PATCH merges
    seen(watch.update_notification(filled(notifications.BodyWrapper(), watch=[changed])))
    removed = filled(Notification(), channel_id=channel, events=["Contacts.edit"], delete_events=True)
    costs("watch", "notifications", 1)  # PATCH with _delete_events removes what is listed
    seen(watch.disable_notification(filled(notifications.BodyWrapper(), watch=[removed])))
    costs("watch", "notifications", 1)
    seen(watch.delete_notification(params((DeleteNotificationParam.channel_ids, channel))))


# ------------------------------------------------------------------------------------------------------- in bulk


def bulk_reading(url: str, came: Queue[Any]) -> None:
    jobs = BulkReadOperations()
    leads = filled(MinifiedModule(), api_name="Leads")
    query = filled(bulk_read.Query(), module=leads, fields=["Last_Name", "Email"], page=1)
    callback = filled(bulk_read.CallBack(), url=url, method=Choice("post"))
    costs("bulk_read", "", 50)
    (job,) = each(jobs.create_bulk_read_job(filled(bulk_read.BodyWrapper(), query=query, callback=callback)), 201)
    called = came.get(timeout=WAIT_SECONDS)
    assert called["data"][0]["state"] == "COMPLETED", called
    (done,) = poll(
        lambda: seen(jobs.get_bulk_read_job_details(int(job["id"]))).get_data(),
        operation="bulk_read_status",
        until=lambda found: found[0].get_state().get_value() == "COMPLETED",
    )
    costs("bulk_read_result", "", 1)
    file = seen(jobs.download_result(int(job["id"]))).get_file()
    rows = csv_of(file).splitlines()
    assert len(rows) == 1 + done.get_result().get_count() == 1 + 16
    assert rows[0] == "Id,Last_Name,Email"


def bulk_writing(zgid: str, directory: Path) -> None:
    jobs = BulkWriteOperations()
    headers = HeaderMap()
    headers.add(UploadFileHeader.feature, "bulk-write")
    headers.add(UploadFileHeader.x_crm_org, zgid)
    upload = filled(bulk_write.FileBodyWrapper(), file=StreamWrapper(file_path=str(directory / "leads.zip")))
    costs("bulk_write_upload", "", 1)
    file_id = str(seen(jobs.upload_file(upload, headers)).get_details()["file_id"])

    resource = filled(bulk_write.Resource(), type=Choice("data"), file_id=file_id, file_names=["leads.csv"])
    resource.set_module(filled(MinifiedModule(), api_name="Leads"))
    resource.set_field_mappings(
        [filled(bulk_write.FieldMapping(), api_name=name, index=n) for n, name in enumerate(("Last_Name", "Email"))]
    )
    job = filled(bulk_write.RequestWrapper(), operation=Choice("insert"), resource=[resource])
    costs("bulk_write", "", 500)
    made = str(seen(jobs.create_bulk_write_job(job), 201).get_details()["id"])
    done = poll(
        lambda: seen(jobs.get_bulk_write_job_details(made)),
        operation="bulk_write_status",
        until=lambda found: found.get_status() == "COMPLETED",
    )
    counted = done.get_resource()[0].get_file()
    assert (counted.get_added_count(), counted.get_total_count()) == (40, 41)
    costs("bulk_write_result", "", 1)
    result = seen(jobs.download_bulk_write_result(done.get_result().get_download_url().lstrip("/"))).get_file()
    assert csv_of(result).count("ADDED") == 40


def csv_of(file: StreamWrapper) -> str:
    """The text of the only file in a downloaded archive."""
    with zipfile.ZipFile(io.BytesIO(b"".join(file.get_stream()))) as archive:
        (name,) = archive.namelist()
        return archive.read(name).decode()


def main(base: str, client_id: str, secret: str, refresh_token: str, directory: str) -> None:
    initialise(base, client_id, secret, refresh_token, directory)
    url, came = told()
    zgid = users_and_organisation()
    metadata()
    people_and_places()
    what_there_is()
    ids = records()
    finding()
    views()
    notes(ids[20])
    attachments(ids[20], directory)
    files(directory)
    merged = cloning_and_merging(ids[20])
    deleting(ids, merged)
    tags(ids)
    many_at_once(ids)
    converting(ids[20])
    relating(ids[21])
    by_jobs()
    notified(url, came)
    bulk_reading(url, came)
    bulk_writing(zgid, Path(directory))
    sys.stdout.write(json.dumps(CALLS))


if __name__ == "__main__":
    main(*sys.argv[1:])
