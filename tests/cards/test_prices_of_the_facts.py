"""Every row of the published credit tables, priced by the cards that ship as the tables say.

The rows are the facts, copied with the marks of their sources: off = official page, 3rd = a third party's reading,
? = not confirmed.
"""

from __future__ import annotations

import json

import pytest

from farebox import cards
from farebox.domain.cards import CompiledCard, HeaderStyle, Kind, RefusalStyle
from farebox.domain.credits import credits_of
from farebox.domain.plans import allowance
from farebox.domain.pricing import NO_BODY, Answer, Body, Unreadable, charge, quote

CRM = CompiledCard(cards.load("zoho-crm"))
BIGIN = CompiledCard(cards.load("bigin"))
Row = tuple[str, str, str, object, int, str]
GZIP = Unreadable("Content-Encoding gzip")
VERSIONS = ("v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8")


def data(records: int) -> dict[str, object]:
    return {"data": [{"Last_Name": f"Name {number}"} for number in range(records)]}


def ids(count: int) -> dict[str, object]:
    return {"tags": [{"name": "new"}], "ids": [str(number) for number in range(count)]}


def coql(limit: str) -> dict[str, object]:
    return {"select_query": f"select Last_Name from Leads where Last_Name is not null {limit}"}


def composite(*, rollback: bool) -> dict[str, object]:
    return {"rollback_on_fail": rollback, "__composite_requests": [{"sub_request_id": "1", "method": "GET"}]}


# (row of the table, method, target, body, cost, mark)
CRM_ROWS: list[Row] = [
    ("Get Users", "GET", "/users", None, 1, "off"),
    ("Get Users, the caller", "GET", "/users?type=CurrentUser", None, 1, "off"),
    ("Get Roles", "GET", "/settings/roles", None, 1, "off"),
    ("Get Profiles", "GET", "/settings/profiles", None, 1, "off"),
    ("Get list of Modules", "GET", "/settings/modules", None, 1, "off"),
    ("Get Field metadata", "GET", "/settings/fields?module=Leads", None, 1, "off"),
    ("Get Module metadata", "GET", "/settings/modules/Leads", None, 1, "off"),
    ("Get Records, per page", "GET", "/Leads?fields=Last_Name&page=2&per_page=200", None, 1, "off"),
    ("Get Records, page_token", "GET", "/Leads?fields=Last_Name&page_token=abc", None, 1, "off"),
    ("Get Records, ids", "GET", "/Leads?ids=1,2,3", None, 1, "off"),
    ("Get Record by id", "GET", "/Leads/4150868000003194003", None, 1, "off"),
    ("Get Records with cvid", "GET", "/Leads?cvid=4150868000000087501", None, 3, "off"),
    ("Search Records", "GET", "/Leads/search?email=a@example.com", None, 1, "off"),
    ("COQL, LIMIT absent", "POST", "/coql", coql(""), 1, "off"),
    ("COQL, LIMIT 200", "POST", "/coql", coql("limit 200"), 1, "off"),
    ("COQL, LIMIT 201", "POST", "/coql", coql("limit 201"), 2, "off"),
    ("COQL, LIMIT 1,000", "POST", "/coql", coql("limit 0, 1000"), 2, "off"),
    ("COQL, LIMIT 1,001", "POST", "/coql", coql("LIMIT 1001 OFFSET 5"), 3, "off"),
    ("COQL, LIMIT 2,000", "POST", "/coql", coql("limit 2000"), 3, "off"),
    ("COQL, unreadable", "POST", "/coql", GZIP, 3, "off"),
    ("Composite request", "POST", "/__composite_requests", composite(rollback=False), 1, "off"),
    ("Get ids of deleted records", "GET", "/Leads/deleted?type=all", None, 2, "off"),
    ("Record count", "GET", "/Leads/actions/count", None, 50, "3rd ?"),
    ("Insert, 1", "POST", "/Leads", data(1), 1, "off"),
    ("Insert, 10", "POST", "/Leads", data(10), 1, "off"),
    ("Insert, 11", "POST", "/Leads", data(11), 2, "off"),
    ("Insert, 20", "POST", "/Leads", data(20), 2, "off"),
    ("Insert, 100", "POST", "/Leads", data(100), 10, "off"),
    ("Insert, gzip", "POST", "/Leads", GZIP, 10, "off"),
    ("Update, 11", "PUT", "/Leads", data(11), 2, "off"),
    ("Update, 100", "PUT", "/Leads", data(100), 10, "off"),
    ("Update one", "PUT", "/Leads/1", data(1), 1, "off"),
    ("Upsert, 20", "POST", "/Leads/upsert", data(20), 2, "off"),
    ("Upsert, 100", "POST", "/Leads/upsert", data(100), 10, "off"),
    ("Delete records, ids", "DELETE", "/Leads?ids=1,2,3", None, 1, "off"),
    ("Delete record", "DELETE", "/Leads/1", None, 1, "off"),
    ("Mass Delete, 100", "POST", "/Leads/actions/mass_delete", ids(100), 1, "3rd"),
    ("Mass Delete, 101", "POST", "/Leads/actions/mass_delete", ids(101), 2, "3rd"),
    ("Mass Update", "POST", "/Leads/actions/mass_update", ids(200), 1, "?"),
    ("Add tags, 50", "POST", "/Leads/actions/add_tags", ids(50), 1, "off"),
    ("Add tags, 51", "POST", "/Leads/actions/add_tags", ids(51), 2, "off"),
    ("Add tags, 500", "POST", "/Leads/actions/add_tags", ids(500), 10, "off"),
    ("Add tags, 60 in the query", "POST", "/Leads/actions/add_tags?ids=" + ",".join("7" * 60), None, 2, "off"),
    ("Remove tags, 500", "POST", "/Leads/actions/remove_tags", ids(500), 10, "off"),
    ("Add tags to one record", "POST", "/Leads/1/actions/add_tags", ids(1), 1, "off"),
    ("Tag metadata", "GET", "/settings/tags?module=Leads", None, 1, "off"),
    ("Convert Lead", "POST", "/Leads/1/actions/convert", data(1), 5, "off"),
    ("Mass Convert Leads", "POST", "/Leads/actions/mass_convert", ids(50), 200, "3rd"),
    ("Merge records", "POST", "/Leads/1/actions/merge", data(2), 50, "off"),
    ("Merge status", "GET", "/Leads/1/actions/merge", None, 1, "off"),
    ("Send Mail, POST", "POST", "/Leads/1/actions/send_mail", data(1), 20, "off"),
    ("Send Mail, PUT", "PUT", "/Leads/1/actions/send_mail", data(1), 20, "off"),
    ("Mail-merge download", "POST", "/Leads/1/actions/download_mail_merge", data(1), 5, "off"),
    ("Bulk Read result and status", "GET", "bulk/read/1", None, 1, "off"),
    ("Bulk Read initialise", "POST", "bulk/read", {"query": {}}, 50, "off"),
    ("Bulk Read download", "GET", "bulk/read/1/result", None, 1, "off"),
    ("Bulk Write initialise", "POST", "bulk/write", {"operation": "insert"}, 500, "off"),
    ("Bulk Write status", "GET", "bulk/write/1", None, 1, "off"),
    ("Bulk Write file upload", "POST", "/upload", None, 1, "off"),
    ("Create custom field, 1", "POST", "/settings/fields?module=Leads", {"fields": [{}]}, 10, "3rd"),
    ("Create custom field, 3", "POST", "/settings/fields?module=Leads", {"fields": [{}, {}, {}]}, 30, "3rd"),
    ("Create custom module", "POST", "/settings/modules", {"modules": [{}]}, 500, "off"),
    ("Notes", "POST", "/Notes", data(30), 1, "off"),
    ("Notes of a record", "GET", "/Leads/1/Notes", None, 1, "off"),
    ("Attachments", "POST", "/Leads/1/Attachments", None, 1, "off"),
    ("Photo", "GET", "/Leads/1/photo", None, 1, "off"),
    ("Files", "POST", "/files", None, 1, "off"),
    ("Related records", "GET", "/Leads/1/Products", None, 1, "off"),
    ("Clone", "POST", "/Leads/1/actions/clone", data(1), 1, "off"),
    ("Notifications, enable", "POST", "/actions/watch", {"watch": []}, 1, "off"),
    ("Notifications, update", "PUT", "/actions/watch", {"watch": []}, 1, "off"),
    ("Notifications, merge", "PATCH", "/actions/watch", {"watch": []}, 1, "off"),
    ("Notifications, get", "GET", "/actions/watch", None, 1, "off"),
    ("Notifications, disable", "DELETE", "/actions/watch?channel_ids=1", None, 1, "off"),
    ("Territories", "GET", "/settings/territories", None, 1, "off"),
    ("Locking", "POST", "/Leads/1/Locking_Information__s", data(1), 1, "off"),
    ("E-mail sharing details", "GET", "/Leads/1/__emails_sharing_details", None, 1, "off"),
    ("Field attachment", "GET", "/Leads/1/actions/download_fields_attachment", None, 1, "off"),
    ("__apis", "GET", "/__apis", None, 1, "off"),
    ("All other APIs", "GET", "/anything/else/at/all", None, 1, "off"),
    ("Organisation", "GET", "/org", None, 1, "off"),
    ("Function", "POST", "/functions/hello/actions/execute", None, 1, "off"),
]
BIGIN_ROWS: list[Row] = [
    ("Users", "GET", "/users", None, 1, "off"),
    ("Roles", "GET", "/settings/roles", None, 1, "off"),
    ("Profiles", "GET", "/settings/profiles", None, 1, "off"),
    ("List of modules", "GET", "/settings/modules", None, 1, "off"),
    ("Field metadata", "GET", "/settings/fields?module=Contacts", None, 1, "off"),
    ("Module metadata", "GET", "/settings/modules/Contacts", None, 1, "off"),
    ("Get records", "GET", "/Contacts?fields=Last_Name", None, 1, "off"),
    ("Get records with cvid", "GET", "/Contacts?cvid=1", None, 3, "off"),
    ("Insert, 20", "POST", "/Contacts", data(20), 2, "off"),
    ("Insert, 100", "POST", "/Contacts", data(100), 10, "off"),
    ("Update, 11", "PUT", "/Contacts", data(11), 2, "off"),
    ("Upsert, 100", "POST", "/Contacts/upsert", data(100), 10, "?"),
    ("Bulk Read", "POST", "bulk/read", {}, 50, "off"),
    ("Bulk Write", "POST", "bulk/write", {}, 500, "off"),
    ("Deleted ids: all others", "GET", "/Contacts/deleted", None, 1, "off"),
    ("COQL: all others", "POST", "/coql", coql("limit 200"), 1, "off"),
]


def _target(base: str, version: str, said: str) -> tuple[str, str]:
    target = f"/{base}/bulk/{version}/{said[5:]}" if said.startswith("bulk/") else f"/{base}/{version}{said}"
    path, _, query = target.partition("?")
    return path, query


def _cost(card: CompiledCard, method: str, path: str, query: str, said: object) -> tuple[int, str]:
    match = card.match(method, path, query)
    body: Body = NO_BODY
    if isinstance(said, Unreadable):
        body = said
    elif said is not None:
        body = cards.body_facts(match.operation.price, json.dumps(said).encode())
    return quote(match, query, body).ceiling, match.operation.mark


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", CRM_ROWS, ids=lambda row: row[0])
def test_every_row_of_zohos_table_costs_what_it_says_in_every_version(version: str, row: Row) -> None:
    _, method, said, body, cost, mark = row
    assert _cost(CRM, method, *_target("crm", version, said), body) == (credits_of(cost), mark)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("row", BIGIN_ROWS, ids=lambda row: row[0])
def test_every_row_of_bigins_table_costs_what_it_says_in_both_versions(version: str, row: Row) -> None:
    _, method, said, body, cost, mark = row
    assert _cost(BIGIN, method, *_target("bigin", version, said), body) == (credits_of(cost), mark)


def test_twenty_records_cost_2_in_one_call_and_20_one_by_one() -> None:
    one_call = _cost(CRM, "POST", "/crm/v8/Leads", "", data(20))[0]
    one_by_one = sum(_cost(CRM, "POST", "/crm/v8/Leads", "", data(1))[0] for _ in range(20))
    assert (one_call, one_by_one) == (credits_of(2), credits_of(20))


def _composite_answer(*codes: str, status: int = 201) -> bytes:
    subs = [
        {"code": code, "details": {"response": {"headers": {}, "status_code": status, "body": {}}}} for code in codes
    ]
    return json.dumps({"__composite_requests": subs}).encode()


@pytest.mark.parametrize(
    ("status", "answer", "cost"),
    [
        (200, _composite_answer("SUCCESS", "SUCCESS"), 2),
        (400, _composite_answer("ROLLBACK_PERFORMED", "PROCESSING_STOPPED"), 1),
        (200, _composite_answer("SUCCESS", "ROLLBACK_PERFORMED"), 1),
        (200, _composite_answer("SUCCESS", status=400), 1),
        (400, b'{"code":"INVALID_DATA","details":{},"message":"invalid data","status":"error"}', 1),
        (200, b"\x1f\x8b\x08 not readable", 2),
    ],
)
def test_a_composite_in_rollback_mode_costs_2_only_when_every_sub_request_succeeded(
    status: int, answer: bytes, cost: int
) -> None:
    match = CRM.match("POST", "/crm/v8/__composite_requests", "")
    body = cards.body_facts(match.operation.price, json.dumps(composite(rollback=True)).encode())
    quoted = quote(match, "", body)
    assert (quoted.ceiling, quoted.exact, match.operation.concurrency) == (credits_of(2), False, 5)
    facts = cards.answer_facts(match.operation.price, answer)
    assert charge(quoted, Answer(status, facts)).millicredits == credits_of(cost)


def test_a_mail_merge_download_that_fails_costs_1() -> None:
    quoted = quote(CRM.match("POST", "/crm/v8/Leads/1/actions/download_mail_merge", ""), "", NO_BODY)
    assert [charge(quoted, Answer(status)).millicredits for status in (200, 400)] == [credits_of(5), credits_of(1)]


@pytest.mark.parametrize(
    ("plan", "users", "total"),
    [
        ("free", 3, 5_000),
        ("standard", 10, 52_500),
        ("standard", 1_000, 100_000),
        ("starter", 10, 52_500),
        ("professional", 10, 55_000),
        ("professional", 10_000, 3_000_000),
        ("enterprise", 100, 150_000),
        ("enterprise", 10_000, 5_000_000),
        ("zoho-one", 100, 150_000),
        ("ultimate", 500, 1_050_000),
        ("crm-plus", 10_000, 20_050_000),
    ],
)
def test_editions_give_what_the_formula_says(plan: str, users: int, total: int) -> None:
    assert allowance(CRM.card.plan(plan).pool("api"), users).total == credits_of(total)


@pytest.mark.parametrize(
    ("plan", "users", "total"),
    [
        ("starter", 10, 7_000),
        ("starter", 100, 10_000),
        ("standard", 100, 15_000),
        ("professional", 100, 20_000),
        ("enterprise", 100, 70_000),
        ("zoho-one", 1_000, 200_000),
        ("ultimate", 500, 520_000),
        ("crm-plus", 500, 520_000),
    ],
)
def test_editions_have_a_pool_of_function_credits_of_its_own(plan: str, users: int, total: int) -> None:
    assert allowance(CRM.card.plan(plan).pool("functions"), users).total == credits_of(total)


@pytest.mark.parametrize(
    ("plan", "users", "total"),
    [("free", 10, 5_000), ("express", 10, 52_500), ("premier", 1_000, 100_000), ("zoho-one", 4, 51_000)],
)
def test_bigins_plans_give_what_the_formula_says(plan: str, users: int, total: int) -> None:
    assert allowance(BIGIN.card.plan(plan).pool("api"), users).total == credits_of(total)


def test_concurrency_per_edition_is_data_of_the_card() -> None:
    plans = {plan.name: (plan.concurrency, plan.sub_concurrency) for plan in CRM.card.plans}
    assert plans == {
        "free": (5, 10),
        "starter": (10, 10),
        "standard": (10, 10),
        "professional": (15, 10),
        "enterprise": (20, 10),
        "zoho-one": (20, 10),
        "ultimate": (25, 10),
        "crm-plus": (25, 10),
    }


@pytest.mark.parametrize(
    ("method", "path", "query", "records", "from_function", "heavy"),
    [
        ("GET", "/crm/v8/Leads", "cvid=1", 0, False, True),
        ("GET", "/crm/v8/Leads", "sort_by=id", 0, False, True),
        ("GET", "/crm/v8/Leads", "", 0, False, False),
        ("POST", "/crm/v8/Leads/1/actions/convert", "", 0, False, True),
        ("POST", "/crm/v8/Leads", "", 10, False, False),
        ("POST", "/crm/v8/Leads", "", 11, False, True),
        ("PUT", "/crm/v8/Leads", "", 11, False, True),
        ("POST", "/crm/v8/Leads/upsert", "", 11, False, True),
        ("POST", "/crm/v8/Leads/1/actions/send_mail", "", 0, False, True),
        ("GET", "/crm/v8/Leads/search", "word=x", 0, False, False),
        ("GET", "/crm/v8/Leads/search", "word=x", 0, True, True),
        ("POST", "/crm/v8/coql", "", 0, False, True),
        ("POST", "/crm/v8/__composite_requests", "", 0, False, True),
    ],
)
def test_resource_heavy_calls_are_those_zoho_names(
    method: str, path: str, query: str, records: int, *, from_function: bool, heavy: bool
) -> None:
    operation = CRM.match(method, path, query).operation
    assert operation.is_heavy({"records": records}, from_function=from_function) is heavy


DURATIONS = [
    (0.1, 0.25), (0.5, 0.5), (0.9, 0.5), (1, 1), (4.9, 1), (5, 2), (10, 4), (15, 6), (20, 8), (30, 12), (60, 24),
    (120, 48), (240, 120), (600, 180), (899, 180), (900, 180),
]  # fmt: skip


@pytest.mark.parametrize(("memory_mb", "factor"), [(128, 1), (256, 2), (512, 4), (1_024, 8)])
def test_serverless_functions_cost_duration_times_memory(memory_mb: int, factor: int) -> None:
    operation = CRM.operation("execute_serverless_function")
    assert operation is not None
    assert operation.pool == "functions"
    price = operation.price
    assert price.needs_answer
    charged = [price.of(int(seconds * 1_000_000), memory_mb) for seconds, _ in DURATIONS]  # type: ignore[union-attr,call-arg]
    assert charged == [int(cost * 1_000) * factor for _, cost in DURATIONS]


def test_the_way_to_a_token_is_open_and_functions_spend_from_their_own_pool() -> None:
    assert CRM.match("POST", "/oauth/v2/token", "").operation.kind is Kind.OPEN
    assert CRM.match("POST", "/crm/v8/functions/f/actions/execute", "").operation.pool == "functions"
    assert CRM.match("GET", "/crm/v8/Leads", "").operation.pool == "api"


def test_zohos_dialect_is_its_envelope_and_its_header_from_half_of_the_plans_credits() -> None:
    for card in (CRM.card, BIGIN.card):
        assert card.dialect.refusals is RefusalStyle.ZOHO
        assert HeaderStyle.X_API_CREDITS_REMAINING in card.dialect.headers
        assert card.dialect.remaining_from_percent == 50


def test_every_row_of_every_card_names_its_source() -> None:
    for name in cards.names():
        card = cards.load(name)
        for operation in (*card.operations, card.default_operation):
            assert operation.source, operation.name
        assert all(pool.source for plan in card.plans for pool in plan.pools)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_with_the_generic_card_every_call_costs_1(method: str) -> None:
    generic = CompiledCard(cards.load("generic"))
    assert quote(generic.match(method, "/any/path", "a=b"), "a=b", NO_BODY).ceiling == credits_of(1)
