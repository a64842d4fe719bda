"""One session of the official Python SDK, unmodified, in a process of its own: what each call came to, as JSON.

Usage: sdk_session.py BASE_URL CLIENT_ID CLIENT_SECRET REFRESH_TOKEN DIRECTORY. The SDK keeps its state in
the process, which is why the tests run this as a program.
"""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, Initializer, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.apis import APIsOperations
from zohocrmsdk.src.com.zoho.crm.api.custom_views import CustomViewsOperations, GetCustomViewsParam
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.features import FeaturesOperations
from zohocrmsdk.src.com.zoho.crm.api.fields import BodyWrapper as FieldsBody
from zohocrmsdk.src.com.zoho.crm.api.fields import Fields as MetaField
from zohocrmsdk.src.com.zoho.crm.api.fields import FieldsOperations, GetFieldsParam
from zohocrmsdk.src.com.zoho.crm.api.layouts import GetLayoutsParam, LayoutsOperations
from zohocrmsdk.src.com.zoho.crm.api.modules import ModulesOperations
from zohocrmsdk.src.com.zoho.crm.api.org import OrgOperations
from zohocrmsdk.src.com.zoho.crm.api.profiles import ProfilesOperations
from zohocrmsdk.src.com.zoho.crm.api.record import (
    APIException,
    BodyWrapper,
    Field,
    GetRecordHeader,
    GetRecordsParam,
    Record,
    RecordOperations,
    SuccessResponse,
)
from zohocrmsdk.src.com.zoho.crm.api.related_lists import RelatedListsOperations
from zohocrmsdk.src.com.zoho.crm.api.roles import RolesOperations
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations
from zohocrmsdk.src.com.zoho.crm.api.util import Choice

Shown = dict[str, Any]


def start(base: str, client_id: str, secret: str, refresh_token: str, directory: Path) -> None:
    Initializer.initialize(
        environment=DataCenter.Environment(base, f"{base}/oauth/v2/token", base),
        token=OAuthToken(client_id=client_id, client_secret=secret, refresh_token=refresh_token),
        store=FileStore(str(directory / "tokens.csv")),
        resource_path=str(directory),
    )


def lead(last_name: str, email: str) -> Record:
    record = Record()
    record.add_field_value(Field.Leads.last_name(), last_name)
    record.add_field_value(Field.Leads.email(), email)
    record.add_field_value(Field.Leads.lead_source(), Choice("Trade Show"))
    record.add_field_value(Field.Leads.annual_revenue(), 1250.5)
    return record


def results(response: Any) -> Shown:
    """The status and, for each record, what the SDK made of its result."""
    shown: Shown = {"status": response.get_status_code(), "type": type(response.get_object()).__name__}
    if isinstance(response.get_object(), APIException):
        return {**shown, "code": response.get_object().get_code().get_value()}
    shown["data"] = [one_result(each) for each in response.get_object().get_data()]
    return shown


def one_result(each: Any) -> Shown:
    shown: Shown = {
        "type": type(each).__name__,
        "code": each.get_code().get_value(),
        "details": plain(each.get_details()),
    }
    if isinstance(each, SuccessResponse):
        shown["message"] = each.get_message().get_value()
        for name in ("action", "duplicate_field"):
            value = getattr(each, f"get_{name}")()
            shown[name] = value.get_value() if isinstance(value, Choice) else value
    return shown


def plain(details: Any) -> Any:
    return json.loads(json.dumps(details, default=str))


def create(*records: Record, module: str = "Leads") -> Shown:
    body = BodyWrapper()
    body.set_data(list(records))
    return results(RecordOperations(module).create_records(body, HeaderMap()))


def users() -> Shown:
    params = ParameterMap()
    params.add(GetUsersParam.type, "ActiveUsers")
    response = UsersOperations().get_users(params, HeaderMap())
    found = response.get_object()
    first = found.get_users()[0]
    return {
        "status": response.get_status_code(),
        "emails": [user.get_email() for user in found.get_users()],
        "count": found.get_info().get_count(),
        "role": first.get_role().get_name(),
        "created": str(first.get_created_time()),
    }


def metadata() -> Shown:
    params = ParameterMap()
    params.add(GetFieldsParam.module, "Deals")
    fields = {each.get_api_name(): each for each in FieldsOperations().get_fields(params).get_object().get_fields()}
    modules = ModulesOperations().get_modules(ParameterMap(), HeaderMap()).get_object().get_modules()
    return {
        "org": OrgOperations().get_organization().get_object().get_org()[0].get_zgid(),
        "modules": {each.get_api_name(): each.get_generated_type().get_value() for each in modules},
        "account_target": fields["Account_Name"].get_lookup().get_module().get_api_name(),
        "stages": [each.get_display_value() for each in fields["Stage"].get_pick_list_values()],
    }


def settings() -> Shown:
    """What the SDK reads of the settings and makes in them."""
    of_leads = ParameterMap()
    of_leads.add(GetCustomViewsParam.module, "Leads")
    views = CustomViewsOperations().get_custom_views(of_leads).get_object().get_custom_views()
    with_module = ParameterMap()
    with_module.add(GetLayoutsParam.module, "Leads")
    layouts = LayoutsOperations().get_layouts(with_module).get_object().get_layouts()
    features = FeaturesOperations().get_user_licences_count().get_object().get_features()
    return {
        "views": [each.get_name() for each in views],
        "sections": [section.get_name() for section in layouts[0].get_sections()],
        "related": [
            each.get_api_name()
            for each in RelatedListsOperations(None).get_related_lists(with_module).get_object().get_related_lists()
        ],
        "roles": [each.get_name() for each in RolesOperations().get_roles().get_object().get_roles()],
        "profiles": [
            each.get_name() for each in ProfilesOperations().get_profiles(ParameterMap()).get_object().get_profiles()
        ],
        "paths": [each.get_path() for each in APIsOperations(None).get_supported_api().get_object().get_apis()],
        "licences": features[0].get_details().get_limits().get_total(),
        "made": make_field(),
    }


def make_field() -> Shown:
    made, params = MetaField(), ParameterMap()
    made.set_field_label("Shoe size")
    made.set_data_type("integer")
    body = FieldsBody()
    body.set_fields([made])
    params.add(GetFieldsParam.module, "Leads")
    response = FieldsOperations().create_field(body, params)
    (result,) = response.get_object().get_fields()
    found = FieldsOperations().get_field(int(result.get_details()["id"]), params).get_object().get_fields()[0]
    return {"status": response.get_status_code(), "name": found.get_api_name(), "custom": found.get_custom_field()}


def upsert(records: list[Record]) -> Shown:
    body = BodyWrapper()
    body.set_data(records)
    body.set_duplicate_check_fields(["Email"])
    return results(RecordOperations("Leads").upsert_records(body, HeaderMap()))


def page(number: int | None, token: str | None) -> Shown:
    params = ParameterMap()
    params.add(GetRecordsParam.fields, "Last_Name,Email,Owner,Created_Time")
    params.add(GetRecordsParam.per_page, 10)
    if number is not None:
        params.add(GetRecordsParam.page, number)
    if token is not None:
        params.add(GetRecordsParam.page_token, token)
    response = RecordOperations("Leads").get_records(params, HeaderMap())
    found = response.get_object()
    return {
        "status": response.get_status_code(),
        "ids": [each.get_id() for each in found.get_data()],
        "owner": found.get_data()[0].get_key_value("Owner").get_email(),
        "more": found.get_info().get_more_records(),
        "next": found.get_info().get_next_page_token(),
    }


def deal_with_lookups() -> Shown:
    account, contact, deal = Record(), Record(), Record()
    account.add_field_value(Field.Accounts.account_name(), "Harbor Optics")
    account_id = int(create(account, module="Accounts")["data"][0]["details"]["id"])
    linked = Record()
    linked.set_id(account_id)
    contact.add_field_value(Field.Contacts.last_name(), "Meyer")
    contact.add_field_value(Field.Contacts.account_name(), linked)
    made = create(contact, module="Contacts")
    deal.add_field_value(Field.Deals.deal_name(), "Harbor pilot")
    deal.add_field_value(Field.Deals.stage(), Choice("Qualification"))
    deal.add_field_value(Field.Deals.closing_date(), date(2026, 12, 24))
    deal.add_field_value(Field.Deals.account_name(), linked)
    deal_id = int(create(deal, module="Deals")["data"][0]["details"]["id"])
    found = RecordOperations("Deals").get_record(deal_id, ParameterMap(), HeaderMap()).get_object().get_data()[0]
    return {
        "contact": made["status"],
        "account": found.get_key_value("Account_Name").get_key_value("name"),
        "stage": found.get_key_value("Stage").get_value(),
        "closing": str(found.get_key_value("Closing_Date")),
    }


def update_and_delete(ids: list[str]) -> Shown:
    changes = []
    for record_id in ids:
        change = Record()
        change.set_id(int(record_id))
        change.add_field_value(Field.Leads.city(), "Denver")
        changes.append(change)
    body = BodyWrapper()
    body.set_data(changes)
    operations = RecordOperations("Leads")
    updated = results(operations.update_records(body, HeaderMap()))
    one = operations.get_record(int(ids[0]), ParameterMap(), HeaderMap()).get_object().get_data()[0]
    headers = HeaderMap()
    headers.add(GetRecordHeader.if_modified_since, one.get_modified_time())
    unmodified = operations.get_record(int(ids[0]), ParameterMap(), headers).get_status_code()
    deleted = results(operations.delete_record(int(ids[0]), ParameterMap(), HeaderMap()))
    return {
        "updated": updated,
        "city": one.get_key_value("City"),
        "revenue": one.get_key_value("Annual_Revenue"),
        "unmodified": unmodified,
        "deleted": deleted,
    }


def main() -> None:
    base, client_id, secret, refresh_token, directory = sys.argv[1:]
    start(base, client_id, secret, refresh_token, Path(directory))
    bad = Record()
    bad.add_field_value(Field.Leads.company(), "Nobody Inc")
    wrong = lead("Wrong", "wrong@mail.example")
    wrong.add_field_value(Field.Leads.phone(), "5" * 31)
    twenty = create(*[lead(f"Bulk {n}", f"bulk{n}@mail.example") for n in range(20)])
    first = page(1, None)
    report = {
        "users": users(),
        "metadata": metadata(),
        "settings": settings(),
        "single": create(lead("Single", "single@mail.example")),
        "twenty": twenty,
        "mixed": create(lead("Good", "good@mail.example"), bad, wrong),
        "mandatory": create(bad),
        "upsert": upsert([lead("Bulk 3", "bulk3@mail.example"), lead("New", "new@mail.example")]),
        "first": first,
        "second": page(None, first["next"]),
        "deal": deal_with_lookups(),
        "changes": update_and_delete([each["details"]["id"] for each in twenty["data"][:5]]),
    }
    json.dump(report, sys.stdout, default=str)


if __name__ == "__main__":
    main()
