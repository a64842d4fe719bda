"""Converting leads, `POST /Leads/{id}/actions/convert`: a contact, account and deal made of a lead, all or nothing.

Source: Zoho CRM v7 convert-lead. Without ids of existing ones a contact is matched by e-mail address, an account by the
company's name, then a contact by name; a value of a unique field that is taken is DUPLICATE_DATA.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from farebox.crm import tag_store
from farebox.crm.call import Answer, Call
from farebox.crm.errors import (
    ApiError,
    invalid_data,
    invalid_module,
    invalid_path_id,
    invalid_related_id,
    mandatory_not_found,
)
from farebox.crm.merging import move_lookups
from farebox.crm.organisations import find_user
from farebox.crm.records import RecordWriter
from farebox.crm.route import route
from farebox.crm.schema import Module
from farebox.crm.validate import Checked, check_record, parse_id
from farebox.crm.writing import attempt, records_of, success

_SAME = ("Phone", "Fax")
CONTACT: Final = {
    **{
        name: name
        for name in (
            *("Salutation", "First_Name", "Last_Name", "Email", "Secondary_Email", "Mobile", "Lead_Source"),
            *("Email_Opt_Out", "Skype_ID", "Twitter", "Description", *_SAME),
        )
    },
    "Designation": "Title",
    "Street": "Mailing_Street",
    "City": "Mailing_City",
    "State": "Mailing_State",
    "Zip_Code": "Mailing_Zip",
    "Country": "Mailing_Country",
}
ACCOUNT: Final = {
    **{name: name for name in ("Website", "Industry", "Rating", "Annual_Revenue", *_SAME)},
    "Company": "Account_Name",
    "No_of_Employees": "Employees",
    "Street": "Billing_Street",
    "City": "Billing_City",
    "State": "Billing_State",
    "Zip_Code": "Billing_Code",
    "Country": "Billing_Country",
}
"""Which field of a lead goes into which of the contact and of the account."""
MADE: Final = ("Contacts", "Accounts", "Deals")
SWITCHES: Final = ("overwrite", "notify_lead_owner", "notify_new_entity_owner")

Json = dict[str, Any]


def convert(call: Call, *, record_id: int) -> Answer:
    """`POST /Leads/{id}/actions/convert`: 200 with the ids of what it became."""
    leads = leads_of(call)
    (data,) = records_of(call.json_object(), maximum=1)
    if not isinstance(data, dict):
        raise invalid_data(api_name="data", json_path="$.data[0]", expected_data_type="jsonobject")
    with call.store.reading() as db:
        row = RecordWriter(call, leads, db).find(record_id)
        if row is None:
            raise invalid_path_id(1)
        if _is_converted(db, record_id):
            raise ApiError(400, "ID_ALREADY_CONVERTED", "id already converted", {"resource_path_index": 1})
    result = attempt(lambda: _converted(call, record_id, data))
    return Answer(status=200 if result["status"] == "success" else 400, payload={"data": [result]})


def leads_of(call: Call) -> Module:
    """The module of leads; Bigin has none."""
    leads = call.organisation.module("Leads")
    if leads is None:
        raise invalid_module(resource_path_index=0)
    return leads


def convert_lead(call: Call, record_id: int, data: Mapping[str, Any], path: str) -> Json:
    """Convert a living lead as the body says, in a transaction of its own; what it became. Raises its refusal."""
    with call.store.transaction() as db:
        lead = RecordWriter(call, leads_of(call), db).find(record_id)
        if lead is None:
            raise invalid_path_id(1)
        if _is_converted(db, record_id):
            raise ApiError(400, "ID_ALREADY_CONVERTED", "id already converted", {"id": str(record_id)})
        return _Conversion(call, db, lead, data, path).run()


def _converted(call: Call, record_id: int, data: Mapping[str, Any]) -> Json:
    return success("The record has been converted successfully", convert_lead(call, record_id, data, "$.data[0]"))


def _is_converted(db: sqlite3.Connection, record_id: int) -> bool:
    return bool(db.execute("SELECT converted FROM record WHERE id = ?", (record_id,)).fetchone()[0])


class _Conversion:
    """One lead on its way, inside a transaction."""

    def __init__(
        self, call: Call, db: sqlite3.Connection, lead: sqlite3.Row, data: Mapping[str, Any], path: str
    ) -> None:
        self._call, self._db, self._lead, self._data, self._path = call, db, lead, data, path
        self._values: Json = msgspec.json.decode(lead["body"])
        catalogue = call.organisation.catalogue
        self._writers = {name: RecordWriter(call, catalogue[name], db) for name in (*MADE, "Leads")}
        self._owner = self._assigned()
        for name in SWITCHES:
            if not isinstance(data.get(name, False), bool):
                raise invalid_data(api_name=name, json_path=f"{path}.{name}", expected_data_type="boolean")

    def run(self) -> Json:
        made: dict[str, int | None] = {"Accounts": self._account()}
        made["Contacts"] = contact = self._contact(made["Accounts"])
        made["Deals"] = self._deal(made["Accounts"], contact)
        self._carry_tags(made)
        self._move_attachments(made)
        move_lookups(self._call, self._db, source=self._lead["id"], target=contact, to_any_module=True)
        self._db.execute("UPDATE record SET converted = 1 WHERE id = ?", (self._lead["id"],))
        self._writers["Leads"].update(self._lead, Checked(), append={})
        return {name: self._shown(made[name]) for name in MADE}

    def _assigned(self) -> int:
        given = self._data.get("assign_to")
        if given is None:
            return int(self._lead["owner"])
        where = f"{self._path}.assign_to"
        user_id = self._id_in(given, "assign_to", where)
        user = find_user(self._db, user_id, zgid=self._call.organisation.zgid)
        if user is None or user.status != "active":
            raise invalid_related_id(api_name="assign_to", json_path=f"{where}.id", related_id=user_id)
        return user_id

    def _id_in(self, given: object, api_name: str, where: str) -> int:
        if not isinstance(given, dict):
            raise invalid_data(api_name=api_name, json_path=where, expected_data_type="jsonobject")
        if given.get("id") in (None, ""):
            raise mandatory_not_found(api_name="id", json_path=f"{where}.id")
        found = parse_id(given["id"])
        if found is None:
            raise invalid_data(api_name="id", json_path=f"{where}.id", expected_data_type="bigint")
        return found

    def _account(self) -> int | None:
        """The account: the given one, the one of the lead's company, or a new one; None without a company."""
        values = self._mapped(ACCOUNT)
        found = self._given("Accounts")
        if found is None and values.get("Account_Name"):
            found = self._by_name("Accounts", values["Account_Name"])
        elif found is None:
            return None
        return self._write("Accounts", found, values)

    def _contact(self, account_id: int | None) -> int:
        values = self._mapped(CONTACT)
        found = self._given("Contacts")
        if found is not None:
            self._check_belongs(found, account_id)
        else:
            found = self._matching_contact(values)
        if account_id is not None:
            values["Account_Name"] = account_id
        return self._write("Contacts", found, values)

    def _matching_contact(self, values: Json) -> int | None:
        """By e-mail address; else by name, unless both have an address and they differ."""
        if values.get("Email"):
            found = self._writers["Contacts"].find_by_value("Email", values["Email"])
            if found is not None:
                return found
        name = " ".join(str(values[part]) for part in ("First_Name", "Last_Name") if values.get(part))
        found = self._by_name("Contacts", name)
        if found is not None and values.get("Email"):
            row = self._writers["Contacts"].find(found)
            if row is not None and msgspec.json.decode(row["body"]).get("Email"):
                return None
        return found

    def _by_name(self, module: str, name: str) -> int | None:
        row = self._db.execute(
            "SELECT min(id) FROM record WHERE zgid = ? AND module = ? AND name = ? COLLATE NOCASE",
            (self._call.organisation.zgid, module, name),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def _check_belongs(self, contact_id: int, account_id: int | None) -> None:
        """A contact of one account does not become that of another one."""
        row = self._writers["Contacts"].find(contact_id)
        assert row is not None, "found just now"
        own = msgspec.json.decode(row["body"]).get("Account_Name")
        if own is not None and "Accounts" in self._data and own != account_id:
            details = {"api_name": "Contacts", "json_path": f"{self._path}.Contacts.id", "id": str(contact_id)}
            raise ApiError(400, "MAPPING_MISMATCH", "the contact given belongs to another account", details)

    def _given(self, module: str) -> int | None:
        given = self._data.get(module)
        if given is None:
            return None
        where = f"{self._path}.{module}"
        record_id = self._id_in(given, module, where)
        if self._writers[module].find(record_id) is None:
            raise invalid_related_id(api_name=module, json_path=f"{where}.id", related_id=record_id)
        return record_id

    def _mapped(self, mapping: Mapping[str, str]) -> Json:
        return {to: self._values[name] for name, to in mapping.items() if self._values.get(name) is not None}

    def _write(self, module: str, found: int | None, values: Json) -> int:
        """A new record, or an existing one, which takes the lead's values when the body says `overwrite`.

        Without it an existing one only becomes the account's contact, when it has no account.
        """
        writer = self._writers[module]
        if found is None:
            checked = Checked(values={**values, "Owner": self._owner})
            writer.verify(checked, path=f"{self._path}.{module}", own_id=None)
            return int(writer.insert(checked)["id"])
        row = writer.find(found)
        assert row is not None, "found just now"
        if not self._data.get("overwrite"):
            has_account = msgspec.json.decode(row["body"]).get("Account_Name") is not None
            values = {} if has_account else {name: values[name] for name in ("Account_Name",) if name in values}
        if values:
            checked = Checked(values=values)
            writer.verify(checked, path=f"{self._path}.{module}", own_id=found)
            writer.update(row, checked, append={})
        return found

    def _deal(self, account_id: int | None, contact_id: int) -> int | None:
        given = self._data.get("Deals")
        if given is None:
            return None
        writer, path = self._writers["Deals"], f"{self._path}.Deals"
        checked = check_record(
            writer.module, given, catalogue=self._call.organisation.catalogue, path=path, inserting=True
        )
        checked.values.update({"Contact_Name": contact_id, "Account_Name": account_id})
        checked.values.setdefault("Owner", self._owner)
        checked.values.setdefault("Lead_Source", self._values.get("Lead_Source"))
        writer.verify(checked, path=path, own_id=None)
        deal_id = int(writer.insert(checked)["id"])
        role = given.get("Contact_Role")
        if role is not None:
            name = role.get("name") if isinstance(role, dict) else role
            if not isinstance(name, str):
                raise invalid_data(api_name="Contact_Role", json_path=f"{path}.Contact_Role", expected_data_type="text")
            details = msgspec.json.encode({"Contact_Role": {"name": name}}).decode()
            self._db.execute(
                "INSERT INTO record_link VALUES ('Contact_Roles', ?, ?, ?)", (deal_id, contact_id, details)
            )
        return deal_id

    def _carry_tags(self, made: Mapping[str, int | None]) -> None:
        given = self._data.get("carry_over_tags")
        if given is None:
            return
        where = f"{self._path}.carry_over_tags"
        if not isinstance(given, dict):
            raise invalid_data(api_name="carry_over_tags", json_path=where, expected_data_type="jsonobject")
        ids = tag_store.of_record(self._db, self._lead["id"])
        own = {each["name"].lower(): each for each in tag_store.shown(self._db, ids).values()}
        for module, names in given.items():
            record_id = made.get(module)
            if record_id is None or not isinstance(names, list):
                raise invalid_data(api_name=module, json_path=f"{where}.{module}", supported_values=list(MADE))
            wanted = tag_store.of_record(self._db, record_id)
            for position, each in enumerate(names):
                name = each.get("name") if isinstance(each, dict) else each
                tag = own.get(name.lower()) if isinstance(name, str) else None
                if tag is None:
                    raise invalid_data(api_name=module, json_path=f"{where}.{module}[{position}]")
                writer = self._writers[module]
                wanted.append(
                    tag_store.find_or_add(
                        self._db, self._call, writer.module, name=tag["name"], color_code=tag["color_code"]
                    )
                )
            row = self._writers[module].find(record_id)
            assert row is not None, "made or found just now"
            self._writers[module].set_tags(row, list(dict.fromkeys(wanted)))

    def _move_attachments(self, made: Mapping[str, int | None]) -> None:
        given = self._data.get("move_attachments_to")
        name = given.get("api_name") if isinstance(given, dict) else given
        if given is None:
            name = "Contacts"
        record_id = made.get(name) if isinstance(name, str) else None
        if record_id is None:
            where = f"{self._path}.move_attachments_to.api_name"
            made_modules = [module for module in MADE if made[module] is not None]
            raise invalid_data(api_name="api_name", json_path=where, supported_values=made_modules)
        self._db.execute("UPDATE attachment SET parent_id = ? WHERE parent_id = ?", (record_id, self._lead["id"]))

    def _shown(self, record_id: int | None) -> Json | None:
        if record_id is None:
            return None
        row = self._db.execute("SELECT name FROM record WHERE id = ?", (record_id,)).fetchone()
        return {"name": row["name"], "id": str(record_id)}


ROUTES = (route("POST", "Leads/{record_id}/actions/convert", "modules.leads update", convert),)
