"""`farebox price`: what a call costs, and which line of which card says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farebox.cli.places import JsonOption

if TYPE_CHECKING:
    from farebox.domain.cards import Match, Operation
    from farebox.domain.pricing import Quote

CARDS_ASKED = ("zoho-crm", "bigin")
"""The packaged cards whose rows are looked through when none is named; the first one prices what neither lists."""


def price(
    *,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The path with its query, or the whole address.")],
    body: Annotated[
        str | None, typer.Option("--body", metavar="FILE", help="The request's body; - is standard input.")
    ] = None,
    content_encoding: Annotated[
        str, typer.Option("--content-encoding", help="The body's Content-Encoding; an encoded body costs the ceiling.")
    ] = "",
    status: Annotated[
        int,
        typer.Option("--status", min=0, max=599, help="The answer's status: gives the charge instead of the ceiling."),
    ] = 0,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="FILE", help="The answer's body, for prices that depend on it.")
    ] = None,
    card: Annotated[
        str | None,
        typer.Option(
            "--card",
            help=f"A packaged rate card or a card file. Default: of {' and '.join(CARDS_ASKED)} the one that lists it.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """What a call costs: operation, module, quantities, credits, and the rule that says so."""
    from farebox import cards
    from farebox.domain import pricing

    if answer is not None and not status:
        raise typer.BadParameter("an answer has a status: give --status too", param_hint="--answer")
    path, query = _path_and_query(target)
    content = None if body is None else _read(body, "--body")
    answered = None if answer is None else _read(answer, "--answer")
    used, match = _match(card, method.upper(), path, query)
    operation = match.operation
    read = _body(content, content_encoding, operation.price) if operation.needs_body else pricing.NO_BODY
    quote = pricing.quote(match, query, read)
    amount, final = quote.ceiling, quote.exact
    if status:
        facts = None if answered is None else cards.answer_facts(operation.price, answered)
        amount, final = pricing.charge(quote, pricing.Answer(status, facts)).millicredits, True
    report = {
        "card": used,
        "card_named": card is not None,
        "listed": bool(match.path_template),
        **_priced(quote, operation),
        "millicredits": amount,
        "final": final,
    }
    print(json.dumps(report, indent=2, ensure_ascii=False) if json_output else _text(report))


def _priced(quote: Quote, operation: Operation) -> dict[str, Any]:
    """What the call is and the rule that prices it."""
    return {
        "operation": operation.name,
        "title": operation.title,
        "kind": str(operation.kind),
        "module": quote.module,
        "api_version": quote.api_version,
        "path_template": quote.path_template,
        "pool": quote.pool,
        "quantities": quote.quantities,
        "ceiling_millicredits": quote.ceiling,
        "rule": quote.rule,
        "source": operation.source,
        "mark": operation.mark,
        "note": operation.note,
    }


def _text(report: dict[str, Any]) -> str:
    from farebox.domain.credits import text_of

    quantities = ", ".join(f"{name} {value:,}" for name, value in report["quantities"].items())
    looked_through = report["card"] if report["card_named"] else " or ".join(CARDS_ASKED)
    lines = {
        "Card": report["card"]
        + ("" if report["listed"] else f" (no row of {looked_through} lists this call; --card names another card)"),
        "Operation": f"{report['operation']} ({report['title']})",
        "Module": report["module"] or "-",
        "Pool": report["pool"],
        "Quantities": quantities or "-",
        "Credits": f"{text_of(report['millicredits'])} "
        + ("(final)" if report["final"] else "(the ceiling; the answer decides)"),
        "Rule": report["rule"],
        "Note": report["note"],
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items() if value)


def _match(card: str | None, method: str, path: str, query: str) -> tuple[str, Match]:
    """The card and what the call is by it: the one named, else the first packaged one with a row for the call."""
    from farebox import cards
    from farebox.domain.cards import CompiledCard

    found = []
    for name in CARDS_ASKED if card is None else (card,):
        match = CompiledCard(cards.load(name)).match(method, path, query)
        if match.path_template:
            return name, match
        found.append((name, match))
    return found[0]


def _body(content: bytes | None, content_encoding: str, rule: Any) -> Any:  # noqa: ANN401 - Price in, Body out, imported late
    from farebox import cards
    from farebox.config import GatewayConfig
    from farebox.domain.pricing import NO_BODY, Unreadable

    if content is None:
        return NO_BODY
    if content_encoding.strip().lower() not in ("", "identity"):
        return Unreadable(f"Content-Encoding {content_encoding}")
    limit = GatewayConfig().price_body_bytes_max
    if len(content) > limit:
        return Unreadable(f"larger than {limit:,} bytes")
    return cards.body_facts(rule, content)


def _read(name: str, option: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{name} cannot be read: {error.strerror}.", param_hint=option) from error


def _path_and_query(target: str) -> tuple[str, str]:
    """Path and query exactly as the gateway would match them, or the reason why it would refuse the target."""
    from urllib.parse import urlsplit

    from farebox.gateway.targets import HeadError, origin_form

    try:
        host = urlsplit(target).netloc
        _, path, query = origin_form(target.encode(), host.encode())
    except (HeadError, ValueError) as error:
        raise typer.BadParameter(f"{target!r}: the gateway refuses it: {error}", param_hint="TARGET") from error
    return path.decode(), query.decode()
