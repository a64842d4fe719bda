"""Whatever a caller sends: matching never raises, and no charge is above its ceiling. Failures print their example."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from farebox import cards
from farebox.domain.cards import CompiledCard
from farebox.domain.pricing import NO_BODY, Answer, AnswerFacts, Body, BodyFacts, Unreadable, charge, quote
from farebox.domain.pricing_coql import facts_of

CARDS = [CompiledCard(cards.load(name)) for name in cards.names()]
SEGMENTS = st.sampled_from(
    [
        "crm",
        "bigin",
        "bulk",
        "v8",
        "v2.1",
        "Leads",
        "actions",
        "settings",
        "fields",
        "upsert",
        "coql",
        "",
        "1",
        ";a",
        "..",
        "%2f",
    ]
)
PATHS = st.one_of(
    st.text(), st.lists(st.one_of(SEGMENTS, st.text(max_size=5)), max_size=9).map(lambda parts: "/" + "/".join(parts))
)
PAIRS = st.tuples(st.sampled_from(["cvid", "sort_by", "ids", "%63vid", "module", "x"]), st.text(max_size=5)).map(
    "=".join
)
QUERIES = st.one_of(st.text(), st.lists(PAIRS, max_size=4).map("&".join))
METHODS = st.one_of(st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "*"]), st.text(max_size=8))
NUMBERS = st.integers(min_value=0, max_value=10**12)
BODIES: st.SearchStrategy[Body] = st.one_of(
    st.just(NO_BODY),
    st.just(Unreadable("x")),
    st.dictionaries(st.sampled_from(["records", "fields", "limit", "rollback", "memory_mb"]), NUMBERS).map(BodyFacts),
)
ANSWERS = st.builds(
    Answer,
    st.integers(min_value=0, max_value=599),
    st.one_of(st.none(), st.builds(AnswerFacts, st.booleans(), st.integers(min_value=-1, max_value=10**6))),
    NUMBERS,
)


@settings(max_examples=1_000, deadline=None, print_blob=True)
@given(METHODS, PATHS, QUERIES, BODIES, ANSWERS)
def test_no_call_breaks_matching_and_no_charge_is_above_its_ceiling(
    method: str, path: str, query: str, body: Body, answer: Answer
) -> None:
    for card in CARDS:
        match = card.match(method, path, query)
        quoted = quote(match, query, body)
        charged = charge(quoted, answer)
        assert 0 <= charged.millicredits <= quoted.ceiling <= match.operation.ceiling
        assert all(isinstance(value, int) for value in charged.quantities.values())


@settings(max_examples=300, deadline=None, print_blob=True)
@given(BODIES, ANSWERS)
def test_every_row_of_every_card_keeps_its_charges_below_its_ceilings(body: Body, answer: Answer) -> None:
    for card in CARDS:
        unlisted = card.match("GET", "/x", "")
        for operation in card.card.operations:
            quoted = quote(unlisted._replace(operation=operation), "ids=1,2", body)
            assert 0 <= charge(quoted, answer).millicredits <= quoted.ceiling <= operation.ceiling


@settings(max_examples=1_000, deadline=None, print_blob=True)
@given(st.binary(max_size=200), st.text(max_size=200))
def test_no_body_breaks_its_reader(content: bytes, text: str) -> None:
    facts_of(text)
    for card in CARDS:
        for operation in card.card.operations:
            if operation.needs_body:
                cards.body_facts(operation.price, content)
                cards.body_facts(operation.price, text.encode("utf-8", "surrogatepass"))
            if operation.needs_answer:
                cards.answer_facts(operation.price, content)
