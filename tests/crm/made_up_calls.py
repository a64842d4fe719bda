"""Calls that schemathesis makes up from /openapi.json, mixed with words the API knows, so that they get far inside."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from farebox.crm import scopes, tokens
from farebox.crm.organisations import UserSeed
from farebox.crm.provision import Credentials
from farebox.testing.crm import RunningCrm

LISTS = ("data", "watch", "__composite_requests")
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e999, 10**30, 0.1, "", "a", "\0", "\ud800", "ü" * 300, [], [None], {}, {"id": 1}, [[]]),
    *("2026-02-30", "2026-01-01T00:00:00+00:00", "9" * 19, "-1", "@{1:$.data}", {"name": []}, ["a", "a"], "%"),
)
CRITERIA = (
    "(Last_Name:equals:a)",
    "((Email:in:a,b)and(id:between:1,2))",
    "((((",
    "(Last_Name:starts_with:\\)",
    "(x:y)",
)
QUERIES = (
    "select Last_Name from Contacts where Last_Name is not null",
    "select Account_Name.Account_Name, COUNT(id) from Contacts where id > 0 group by Account_Name.Account_Name limit 3",
    "select What_Id->Accounts.Account_Name from Tasks where Subject like '%' order by id limit 99, 2000",
    "select",
    "select id from Nope where (((",
)
VALID: Mapping[str, Mapping[str, Any]] = {
    "Contacts": {"Last_Name": "A", "Email": "a@x.example"},
    "Leads": {"Last_Name": "A", "Company": "C"},
    "Accounts": {"Account_Name": "A"},
    "Tasks": {"Subject": "S"},
    "Products": {"Product_Name": "P"},
    "Notes": {"Note_Content": "N"},
}
"""What is enough to make a record of a module; odd values come on top."""
WORDS = ("Last_Name", "Email", "Account_Name", "Owner", "id", "Tag", "Modified_Time", "Created_By", "Full_Name", "Nope")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A running API with an organisation of each product, the ids that are in it, and good and bad tokens for it."""

    crm: RunningCrm
    ids: Mapping[str, tuple[str, ...]]
    tokens: Mapping[str, tuple[str | None, ...]]
    http: httpx.Client
    answered: Counter[int]


def set_stage(crm: RunningCrm, http: httpx.Client) -> Stage:
    made = {
        product: crm.create_organisation(
            name=product,
            product=product,
            users=[UserSeed(email="a@x.example"), UserSeed(email="b@x.example")],
            sample_records=5,
        )
        for product in ("crm", "bigin")
    }
    with crm.store.reading() as db:
        ids = {
            product: tuple(
                str(row["id"])
                for table in ("record", "user")
                for row in db.execute(f"SELECT id FROM {table} WHERE zgid = ?", (int(each.zgid),))
            )
            for product, each in made.items()
        }
    return Stage(
        crm=crm,
        ids=ids,
        tokens={product: _tokens(crm, each) for product, each in made.items()},
        http=http,
        answered=Counter(),
    )


def _tokens(crm: RunningCrm, made: Credentials) -> tuple[str | None, ...]:
    def token(scope: str) -> str:
        return tokens.issue_access_token(
            crm.store, client_id=made.client_id, user_id=int(made.users[0].id), scope=scope
        )

    good = token(scopes.everything(made.product))
    # mostly a good one: the others are answered before anything is read
    return (*[good] * 8, token("ZohoCRM.modules.contacts.READ"), "1000.bad.bad", None)


def operations(document: Mapping[str, Any]) -> Iterator[Any]:
    """What schemathesis finds in the document, but for the accounts server."""
    schema = schemathesis.openapi.from_dict(dict(document))
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr] # an operation that cannot be read fails here
        if not operation.path.startswith("/oauth/"):
            yield operation


def make_calls(stage: Stage, operation: Any, *, calls: int, number: int) -> None:
    """Make `calls` calls of one operation; the same `number`, the same calls. Raises AssertionError with the call."""
    product = "bigin" if "bigin" in operation.path else "crm"

    @seed(number)
    @settings(
        max_examples=calls,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        ),
        number=st.integers(0, 2**32),
    )
    def one(case: Any, number: int) -> None:
        chance = random.Random(number)
        _known_words(case, stage, product, chance)
        sent = case.as_transport_kwargs(base_url=stage.crm.url)
        headers = {name: str(value) for name, value in (sent.get("headers") or {}).items() if _sendable(name, value)}
        headers.pop("Authorization", None)
        token = chance.choice(stage.tokens[product])
        if token is not None:
            headers["Authorization"] = f"Zoho-oauthtoken {token}"
        request = {"method": sent["method"], "url": sent["url"], "params": sent.get("params"), "headers": headers}
        for name in ("json", "data", "files"):
            if sent.get(name) is not None:
                request[name] = sent[name]
        if "json" in request:
            request["content"] = json.dumps(request.pop("json")).encode("utf-8", "surrogatepass")
        if isinstance(request.get("data"), bytes | str):
            request["content"] = request.pop("data")
        try:
            answer = stage.http.request(**request)
        except (httpx.InvalidURL, httpx.LocalProtocolError, AttributeError, TypeError, ValueError):
            return  # nothing left this process
        stage.answered[answer.status_code] += 1
        check(answer, request)

    one()


def _known_words(case: Any, stage: Stage, product: str, chance: random.Random) -> None:
    """Put words the API knows where made-up ones would be refused at the door."""
    module = chance.choice(tuple(VALID))
    for name in case.path_parameters or {}:
        if chance.random() < 0.9:
            if name == "module":
                case.path_parameters[name] = module
            elif name.endswith("_id"):
                case.path_parameters[name] = chance.choice(stage.ids[product])
    known = {
        "fields": ",".join(chance.sample(WORDS, 3)),
        "criteria": chance.choice(CRITERIA),
        "ids": ",".join(chance.sample(stage.ids[product], 2)),
        "module": chance.choice(tuple(VALID)),
    }
    if isinstance(case.query, dict):
        if chance.random() < 0.5:  # most made-up values are refused, and one refused value hides all others
            case.query = {name: case.query[name] for name in list(case.query)[:1]}
        if chance.random() < 0.7:
            case.query |= {name: value for name, value in known.items() if name in case.query or name == "fields"}
    if isinstance(case.body, dict) and chance.random() < 0.8:
        _known_body(case, stage, product, chance, VALID[module])


def _known_body(case: Any, stage: Stage, product: str, chance: random.Random, valid: Mapping[str, Any]) -> None:
    body = case.body
    if "select_query" in body:
        body["select_query"] = chance.choice(QUERIES)
    uris = (f"/crm/v8/{word}" for word in ("Contacts", "coql", "Leads/1", "@{1:$.x}", "settings/fields?module=Leads"))
    for name in LISTS:
        if not isinstance(body.get(name), list):
            continue
        for each in body[name][:3]:
            if isinstance(each, dict):
                each.update(valid)
                each.update({word: chance.choice(ODD) for word in chance.sample(WORDS, chance.randint(0, 3))})
                if chance.random() < 0.5:
                    each["id"] = chance.choice(stage.ids[product])
                if name == LISTS[2]:
                    each["uri"] = next(uris, "/crm/v8/Contacts")
    if not body or chance.random() < 0.3:
        body["data"] = [{word: chance.choice(ODD) for word in chance.sample(WORDS, 4)}]
        body["ids"] = chance.choice((list(stage.ids[product][:2]), ["1"], [], "x", [None]))
        body["tags"] = chance.choice(([{"name": "a"}], [{"name": chance.choice(ODD)}], "x"))


def _sendable(name: str, value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and name.isascii()


def check(answer: httpx.Response, request: object) -> None:
    """Never a 5xx; JSON with its type, or a file, or nothing; a refusal is the envelope or one per record."""
    said = f"{request} was answered {answer.status_code} {answer.text[:500]}"
    assert answer.status_code < 500, said
    if answer.status_code in (204, 304) or (not answer.content and answer.request.method == "HEAD"):
        assert not answer.content, said
        return
    if answer.headers.get("content-disposition"):
        return
    assert answer.headers["content-type"] == "application/json;charset=utf-8", said
    content = answer.json()
    assert isinstance(content, dict), said
    if answer.status_code >= 400:
        assert _is_envelope(content) or _is_list_of_results(content) or "ERROR_CODE" in content, said


def _is_envelope(content: Mapping[str, Any]) -> bool:
    return set(content) == {"code", "details", "message", "status"} and content["status"] == "error"


def _is_list_of_results(content: Mapping[str, Any]) -> bool:
    lists = [value for value in content.values() if isinstance(value, list) and value]
    return bool(lists) and all(
        isinstance(each, dict) and {"code", "status", "message", "details"} <= set(each)
        for some in lists
        for each in some
    )
