"""A first card from an OpenAPI file: every operation, 1 credit, and a card that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farebox import cards
from farebox.cards.openapi import card_from_file, card_from_openapi
from farebox.domain.cards import CompiledCard
from farebox.domain.pricing import NO_BODY, quote
from farebox.errors import CardInvalidError

PETS = {
    "openapi": "3.1.0",
    "info": {"title": 'Pet "Store"\n(v1)', "version": "1"},
    "servers": [{"url": "https://{region}.example.com/api/v1/", "variables": {"region": {"default": "eu"}}}],
    "paths": {
        "/": {"get": {"summary": "Root"}},
        "/pets": {
            "get": {"operationId": "listPets", "summary": "List pets", "tags": ["Pets"]},
            "post": {"operationId": "createPet"},
            "parameters": [],
        },
        "/pets/": {"get": {"operationId": "listPetsAgain"}},
        "/pets/{petId}": {"$ref": "#/components/pathItems/Pet"},
        "/pets/{petId}/photo.{format}": {"put": {}},
        "/odd/{version}/{module}": {"get": {"operationId": "listPets"}},
        "/search?kind=dog": {"get": {"operationId": "searchDogs"}},
        "/späße/a b": {"get": {}},
        "x-internal": {"get": {}},
    },
    "components": {
        "pathItems": {"Pet": {"get": {"operationId": "getPet"}, "delete": {"operationId": "getPet"}, "trace": {}}}
    },
}


def _compiled(text: str) -> CompiledCard:
    return CompiledCard(cards.parse(text, file="card.toml"))


def test_every_operation_of_the_file_is_a_row_at_1_credit() -> None:
    card = _compiled(card_from_openapi(PETS, "pets"))
    assert {operation.price.ceiling for operation in card.card.operations} == {1_000}
    found = {operation.name: (operation.methods, operation.path) for operation in card.card.operations}
    assert found == {
        "get_api_v1": (("GET",), "/api/v1"),
        "list_pets": (("GET",), "/api/v1/pets"),
        "create_pet": (("POST",), "/api/v1/pets"),
        "get_pet": (("GET",), "/api/v1/pets/{petId}"),
        "get_pet_2": (("DELETE",), "/api/v1/pets/{petId}"),
        "put_api_v1_pets_pet_id_photo_format": (("PUT",), "/api/v1/pets/{petId}/{format}"),
        "list_pets_2": (("GET",), "/api/v1/odd/{_version}/{_module}"),
        "search_dogs": (("GET",), "/api/v1/search"),
        "get_api_v1_sp_e_a_b": (("GET",), "/api/v1/sp%C3%A4%C3%9Fe/a%20b"),
    }


def test_the_card_matches_the_calls_of_the_api() -> None:
    card = _compiled(card_from_openapi(PETS, "pets"))
    match = card.match("GET", "/api/v1/pets/77", "")
    assert (match.operation.name, match.module) == ("get_pet", "pets"), "the servers' base path is no module"
    assert card.match("GET", "/api/v1/pets", "").module == "Pets"
    assert card.match("GET", "/api/v1/search", "kind=dog").operation.name == "search_dogs"
    assert card.match("GET", "/api/v1/search", "").operation.name == "other"
    assert quote(match, "", NO_BODY).ceiling == 1_000


def test_the_card_is_ready_to_be_read_and_has_plans_to_begin_with() -> None:
    text = card_from_openapi(PETS, "pets")
    assert text.startswith("# Rate card of Pet")
    card = cards.parse(text, file="card.toml")
    assert (card.product, card.plan("standard").pool("api").base) == ("api", 10_000_000)


def test_json_yaml_swagger_and_files_beside_are_read(tmp_path: Path) -> None:
    (tmp_path / "pets.json").write_text(json.dumps(PETS), encoding="utf-8")
    (tmp_path / "item.yaml").write_text("get: {operationId: getThing}\n", encoding="utf-8")
    (tmp_path / "old.yaml").write_text(
        'swagger: "2.0"\nbasePath: /v2\npaths:\n  /things/{id}:\n    $ref: "item.yaml#"\n  /t:\n    get: {}\n',
        encoding="utf-8",
    )
    assert len(_compiled(card_from_file(tmp_path / "pets.json")).card.operations) == 9
    assert (
        _compiled(card_from_file(tmp_path / "old.yaml")).match("GET", "/v2/things/1", "").operation.name == "get_thing"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "no OpenAPI document"),
        ("[]", "no OpenAPI document"),
        ("openapi: 3.1.0\n", "paths: is missing"),
        ("paths: {}\n", "lists no operation"),
        ("a: [1,\nb: }", ":2: yaml: "),
        ('{"paths": ', "yaml: "),
        ('paths:\n  /a:\n    $ref: "#/paths/~1a"\n', "leads through more than"),
        ('paths:\n  /a:\n    $ref: "#/nowhere"\n', "no path item"),
        ('paths:\n  /a:\n    $ref: "gone.yaml"\n', "cannot be read"),
        ('paths:\n  /a:\n    $ref: "https://example.com/a.yaml"\n', "into one file"),
    ],
)
def test_a_file_that_is_none_says_what_to_do(tmp_path: Path, content: str, what: str) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CardInvalidError, match=":") as caught:
        card_from_file(file)
    assert what in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CardInvalidError, match="check the path"):
        card_from_file(tmp_path / "none.yaml")
