"""Related lists: what points at a record, what is linked with it, and its notes."""

from typing import Any

import pytest

from farebox.crm import tokens
from farebox.crm.organisations import find_organisation
from farebox.crm.related_lists import related_lists
from farebox.crm.schema import DataType
from farebox.testing.crm import Caller, RunningCrm

Json = dict[str, Any]


def listed(caller: Caller, path: str, **params: Any) -> list[str]:
    answer = caller.get(path, None, fields="id", **params)
    if answer.status_code == 204:
        return []
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["data"]]


@pytest.fixture
def account(caller: Caller) -> str:
    return caller.insert("Accounts", {"Account_Name": "Zylker"})[0]


def test_every_look_up_between_modules_gives_a_list_and_names_are_unique(crm: RunningCrm, caller: Caller) -> None:
    with crm.store.reading() as db:
        organisation = find_organisation(db, int(caller.credentials.zgid))
    for module in organisation.catalogue.values():
        lists = related_lists(organisation, module)
        assert len({each.api_name for each in lists}) == len(lists)
        for other in organisation.catalogue.values():
            for field in other.fields:
                if other.is_subform or field.data_type is not DataType.LOOKUP or field.target != module.api_name:
                    continue
                assert [each for each in lists if (each.module, each.field) == (other.api_name, field)], field


def test_what_points_at_a_record_is_in_its_list_page_by_page(caller: Caller, account: str) -> None:
    ids = caller.insert("Contacts", *({"Last_Name": f"C{n}", "Account_Name": {"id": account}} for n in range(7)))
    caller.insert("Contacts", {"Last_Name": "Elsewhere"})
    answer = caller.get(f"Accounts/{account}/Contacts", fields="Last_Name,Account_Name", per_page=3).json()
    assert answer["data"][0] == {
        "id": ids[-1],
        "Last_Name": "C6",
        "Account_Name": {"name": "Zylker", "id": account},
    }
    assert answer["info"]["more_records"]
    found = [each["id"] for each in answer["data"]]
    while answer["info"]["more_records"]:
        token = answer["info"]["next_page_token"]
        params = {"fields": "Last_Name,Account_Name", "per_page": 3, "page_token": token}
        answer = caller.get(f"Accounts/{account}/Contacts", None, **params).json()
        found += [each["id"] for each in answer["data"]]
    assert found == sorted(ids, reverse=True)


def test_a_page_token_is_bound_to_its_list(caller: Caller, account: str) -> None:
    caller.insert("Contacts", *({"Last_Name": "C", "Account_Name": {"id": account}} for _ in range(2)))
    token = caller.get(f"Accounts/{account}/Contacts", fields="id", per_page=1).json()["info"]["next_page_token"]
    answer = caller.get("Contacts", fields="id", per_page=1, page_token=token)
    assert answer.json()["code"] == "TOKEN_BOUND_DATA_MISMATCH"


def test_a_list_follows_the_look_up(caller: Caller, account: str) -> None:
    (contact,) = caller.insert("Contacts", {"Last_Name": "C"})
    (other,) = caller.insert("Accounts", {"Account_Name": "Other"})
    assert listed(caller, f"Accounts/{account}/Contacts") == []
    put = caller.send("PUT", f"Accounts/{account}/Contacts/{contact}", {"data": [{}]})
    assert put.json()["data"][0]["message"] == "relation added"
    assert listed(caller, f"Accounts/{account}/Contacts") == [contact]
    caller.send("PUT", f"Contacts/{contact}", {"data": [{"Account_Name": other}]})
    assert listed(caller, f"Accounts/{account}/Contacts") == []
    removed = caller.send("DELETE", f"Accounts/{other}/Contacts", params={"ids": contact}).json()["data"][0]
    assert (removed["message"], removed["details"]) == ("relation removed", {"id": contact})
    assert caller.record("Contacts", contact)["Account_Name"] is None
    again = caller.send("DELETE", f"Accounts/{other}/Contacts/{contact}")
    assert (again.status_code, again.json()["data"][0]["details"]) == (400, {"id": contact})


def test_a_record_that_is_deleted_leaves_every_list(caller: Caller, account: str) -> None:
    (contact,) = caller.insert("Contacts", {"Last_Name": "C", "Account_Name": account})
    (deal,) = caller.insert("Deals", {"Deal_Name": "D", "Stage": "Qualification"})
    caller.send("PUT", f"Deals/{deal}/Contact_Roles/{contact}", {"data": [{"Contact_Role": "Boss"}]})
    caller.send("DELETE", f"Contacts/{contact}")
    assert listed(caller, f"Accounts/{account}/Contacts") == []
    assert listed(caller, f"Deals/{deal}/Contact_Roles") == []


def test_products_are_linked_on_both_sides(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", {"Last_Name": "L"})
    products = caller.insert("Products", {"Product_Name": "A"}, {"Product_Name": "B"})
    body = {"data": [{"id": products[0]}, {"id": products[1]}, {"id": lead}]}
    answer = caller.send("PUT", f"Leads/{lead}/Products", body)
    assert answer.status_code == 207
    assert [each["code"] for each in answer.json()["data"]] == ["SUCCESS", "SUCCESS", "INVALID_DATA"]
    assert sorted(listed(caller, f"Leads/{lead}/Products")) == sorted(products)
    assert listed(caller, f"Products/{products[0]}/Leads") == [lead]
    caller.send("DELETE", f"Products/{products[0]}/Leads/{lead}")
    assert listed(caller, f"Leads/{lead}/Products") == [products[1]]


def test_a_contact_role_says_which(caller: Caller) -> None:
    (deal,) = caller.insert("Deals", {"Deal_Name": "D", "Stage": "Qualification"})
    (contact,) = caller.insert("Contacts", {"Last_Name": "C"})
    role = {"Contact_Role": {"name": "Decision Maker", "id": "17"}}
    assert caller.send("PUT", f"Deals/{deal}/Contact_Roles/{contact}", {"data": [role]}).status_code == 200
    (shown,) = caller.get(f"Deals/{deal}/Contact_Roles", fields="Last_Name").json()["data"]
    assert shown == {"id": contact, "Last_Name": "C", **role}
    (one,) = caller.get(f"Deals/{deal}/Contact_Roles/{contact}").json()["data"]
    assert one["Contact_Role"] == role["Contact_Role"]
    wrong = caller.send("PUT", f"Deals/{deal}/Contact_Roles/{contact}", {"data": [{"Contact_Role": 3}]}).json()
    assert wrong["data"][0]["details"]["json_path"] == "$.data[0].Contact_Role"


def test_notes_of_a_record_are_written_read_changed_and_deleted_under_it(caller: Caller) -> None:
    lead, other = caller.insert("Leads", {"Last_Name": "L"}, {"Last_Name": "M"})
    body = {"data": [{"Note_Title": "T", "Note_Content": "one"}, {"Note_Content": ""}]}
    answer = caller.send("POST", f"Leads/{lead}/Notes", body)
    assert answer.status_code == 207
    first, second = answer.json()["data"]
    note = first["details"]["id"]
    assert second["code"] == "MANDATORY_NOT_FOUND"
    assert listed(caller, f"Leads/{lead}/Notes") == [note] == listed(caller, "Notes")
    (shown,) = caller.get(f"Leads/{lead}/Notes/{note}").json()["data"]
    assert (shown["Parent_Id"], shown["$se_module"]) == ({"name": "L", "id": lead}, "Leads")
    put = caller.send("PUT", f"Leads/{lead}/Notes", {"data": [{"id": note, "Note_Content": "two"}]})
    assert put.json()["data"][0]["message"] == "record updated"
    assert caller.record("Notes", note)["Note_Content"] == "two"
    assert caller.send("PUT", f"Leads/{other}/Notes/{note}", {"data": [{"Note_Title": "x"}]}).status_code == 400
    assert caller.send("DELETE", f"Leads/{other}/Notes/{note}").status_code == 400
    assert caller.send("DELETE", f"Leads/{lead}/Notes/{note}").status_code == 200
    assert listed(caller, f"Leads/{lead}/Notes") == []


def test_a_note_keeps_its_parent(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", {"Last_Name": "L"})
    (task,) = caller.insert("Tasks", {"Subject": "T", "What_Id": lead})
    assert listed(caller, f"Leads/{lead}/Tasks") == [task]
    assert caller.send("DELETE", f"Leads/{lead}/Tasks/{task}").status_code == 200
    assert caller.record("Tasks", task)["What_Id"] is None


@pytest.mark.parametrize("name", ["Nothing", "Leads", "Quoted_Items"])
def test_a_list_that_is_none_says_where_it_stands(caller: Caller, account: str, name: str) -> None:
    answer = caller.get(f"Accounts/{account}/{name}", fields="id")
    assert answer.status_code == 400
    assert answer.json() == {
        "code": "INVALID_DATA",
        "details": {"resource_path_index": 2},
        "message": "the relation name given seems to be invalid",
        "status": "error",
    }


def test_a_record_that_is_none_says_where_it_stands(caller: Caller) -> None:
    answer = caller.get("Accounts/17/Contacts", fields="id")
    assert (answer.status_code, answer.json()["details"]) == (400, {"resource_path_index": 1})


def test_a_list_asks_for_the_scope_of_the_records_in_it_too(crm: RunningCrm, caller: Caller, account: str) -> None:
    token = tokens.issue_access_token(
        crm.store,
        client_id=caller.credentials.client_id,
        user_id=int(caller.credentials.users[0].id),
        scope="ZohoCRM.modules.accounts.READ",
    )
    headers = {"Authorization": f"Zoho-oauthtoken {token}"}
    assert caller.get(f"Accounts/{account}/Contacts", headers, fields="id").json()["code"] == "OAUTH_SCOPE_MISMATCH"
