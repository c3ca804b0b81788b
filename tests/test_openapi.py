"""gen/openapi.json is a document that tools take, and says of the API what the API does."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from dev.contract import Field, read
from dev.fuzz import ENDS_SESSIONS, fuzz, runs, sign_in
from dev.mesh import ROOT, Mesh
from dev.openapi import bounds
from dev.openapi.words import camel, first_sentence, in_json
from mesh.edge import PUBLIC_SERVICES
from popcorn.options.v1 import options_pb2
from tests.edge.standins import INTERNAL, METHODS, PUBLIC

DOCUMENT: dict[str, Any] = json.loads((ROOT / "gen" / "openapi.json").read_text(encoding="utf-8"))
CONTRACT = read((ROOT / "gen" / "popcorn.binpb").read_bytes())
OPERATIONS = {
    operation["operationId"]: (path, verb, operation)
    for path, item in DOCUMENT["paths"].items()
    for verb, operation in item.items()
}
EVERY = pytest.mark.parametrize("name", OPERATIONS)


def has_rest_form(method: MethodDescriptor) -> bool:
    return bool(method.GetOptions().HasExtension(annotations_pb2.http))


def values(message: dict[str, Any]) -> Iterator[Any]:
    """Everything in a document, at every depth."""
    yield message
    for inner in message.values():
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, dict):
                yield from values(one)


# ---- the document by itself ----------------------------------------------------------------------------


def test_it_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(cast(Any, DOCUMENT)).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_it_has_every_method_that_rest_reaches_and_no_other() -> None:
    described = {f"/{operation['x-grpc-method']}" for _, _, operation in OPERATIONS.values()}
    reached = {
        path
        for path, method in METHODS.items()
        if method.containing_service.full_name in PUBLIC_SERVICES
        and path not in INTERNAL
        and has_rest_form(method)
    }
    assert described == reached
    told_elsewhere = {
        f"/{method['method']}" for tag in DOCUMENT["tags"] for method in tag.get("x-grpc-only", [])
    }
    public_services = {path for path in METHODS if path[1:].split("/")[0] in PUBLIC_SERVICES}
    assert described | told_elsewhere == public_services - set(INTERNAL)


@EVERY
def test_everything_in_it_is_explained(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    for parameter in operation.get("parameters", []):
        assert parameter["description"]
    assert operation["responses"]["200"]["description"]


@EVERY
def test_a_token_is_asked_for_where_the_edge_asks_for_one(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    public = f"/{operation['x-grpc-method']}" in PUBLIC
    assert ("security" in operation) == public
    assert operation.get("security", []) == []
    assert ("401" in operation["responses"]) == (not public or "UNAUTHENTICATED" in operation["description"])
    access = METHODS[f"/{operation['x-grpc-method']}"].GetOptions().Extensions[options_pb2.access]
    assert access == options_pb2.ACCESS_GUEST or "403" in operation["responses"] or public


@EVERY
def test_every_field_of_a_request_is_in_exactly_one_place(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    method = METHODS[f"/{operation['x-grpc-method']}"]
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    places = [
        parameter["name"].split(".")[0]
        for parameter in operation.get("parameters", [])
        if parameter["in"] != "header"
    ]
    if rule.body == "*":
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        places += DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"]
    elif rule.body:
        places.append(camel(rule.body))
    assert set(places) == {field.json_name for field in method.input_type.fields}


def test_what_goes_out_says_what_is_always_there() -> None:
    entry = DOCUMENT["components"]["schemas"]["Entry"]
    assert {"movieId", "note", "tags", "status"} <= set(entry["required"])
    assert not {"rating", "createTime"} & set(entry["required"])
    assert "required" not in DOCUMENT["components"]["schemas"]["PutBacklogEntryRequest"]


def test_a_message_in_both_directions_has_bounds_only_on_the_way_in() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["AccountInput"]["properties"]["displayName"]["maxLength"] == 400
    assert "maxLength" not in schemas["Account"]["properties"]["displayName"]


def test_numbers_of_64_bits_are_texts() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        for value in values(schema):
            if value.get("format") == "int64":
                assert value["type"] == "string"


# ---- words -----------------------------------------------------------------------------------------------


def test_comments_speak_of_fields_as_json_spells_them() -> None:
    names = {"page_size", "user_id"}
    assert in_json("See `page_size`, or user_id.", names) == "See `pageSize`, or userId."
    assert in_json("By backlog_svc, and page_sizes.", names) == "By backlog_svc, and page_sizes."
    assert first_sentence("One thing. Another.\n\nMore.") == "One thing."


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("A note, up to 1,024 characters.", {"maxLength": 1024}),
        ("Words, 1 to 200 characters.", {"minLength": 1, "maxLength": 200}),
        ('Its name, 1 to 60 characters. Empty: "Movie night".', {"maxLength": 60}),
        ("1 to 50 characters as readers count them.", {}),
        ("1 to 50 characters as readers count them, of 400 code points at most.", {"maxLength": 400}),
        ("The language, BCP 47. Empty: English.", {}),
    ],
)
def test_bounds_of_texts(comment: str, expected: dict[str, int]) -> None:
    assert bounds.of_value(Field(type=Field.TYPE_STRING), comment) == expected


@pytest.mark.parametrize(
    ("comment", "optional", "expected"),
    [
        ("TMDB's id, at least 1.", False, {"minimum": 1}),
        ("How many. 0 means 20; more than 100 means 100.", False, {"minimum": 0, "default": 20}),
        ("How many, 1 to 500. 0 means 100.", False, {"minimum": 0, "maximum": 500, "default": 100}),
        ("How many, 1 to 500.", True, {"minimum": 1, "maximum": 500}),
        ("Rated at least this well.", False, {}),
        ("Which film.", False, {}),
    ],
)
def test_bounds_of_numbers(comment: str, optional: bool, expected: dict[str, int]) -> None:
    field = Field(type=Field.TYPE_INT32, proto3_optional=optional)
    assert bounds.of_value(field, comment) == expected


# ---- the document and the API ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def client(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mesh.edge_url, timeout=20) as opened:
        yield opened


@pytest.fixture(scope="module")
def token(mesh: Mesh) -> str:
    """The token of somebody whom this module's tests share: it takes longer to sign in than to call."""
    return sign_in(mesh)


def with_everything(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that stands by itself."""
    return {**copy.deepcopy(schema), "components": DOCUMENT["components"]}


def described(operation: dict[str, Any], status: int) -> dict[str, Any]:
    answers: dict[str, Any] = operation["responses"]
    answer: dict[str, Any] = answers.get(str(status), answers["default"])
    if "$ref" in answer:
        found: dict[str, Any] = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        return found
    return answer


@EVERY
async def test_an_example_is_answered_as_described(
    name: str, mesh: Mesh, client: httpx.AsyncClient, token: str
) -> None:
    path, verb, operation = OPERATIONS[name]
    query: list[tuple[str, str | int | float | bool | None]] = []
    for parameter in operation.get("parameters", []):
        example = parameter.get("example")
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", str(example))
        elif parameter["in"] == "query" and example is not None:
            shown = example if isinstance(example, list) else [example]
            query += [(parameter["name"], json.dumps(one).strip('"')) for one in shown]
    kind, content = next(iter(operation.get("requestBody", {"content": {"": {}}})["content"].items()))
    example = content.get("example")
    if example is not None:
        schema = with_everything(content["schema"])
        Draft202012Validator(schema).validate(example)
    token = sign_in(mesh) if name in ENDS_SESSIONS else token
    answer = await client.request(
        verb,
        path,
        params=query,
        content="Date,Name,Year" if example is None and kind else None,
        json=example,
        headers={"authorization": f"Bearer {token}"} | ({"content-type": kind} if kind else {}),
    )
    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    assert answer.status_code != 404 or "METHOD_NOT_FOUND" not in answer.text
    media = described(operation, answer.status_code)["content"]
    arrived = answer.headers["content-type"].split(";")[0]
    assert arrived in media or "*/*" in media
    if media.get(arrived, {}).get("schema", {}).get("$ref"):
        Draft202012Validator(with_everything(media[arrived]["schema"])).validate(answer.json())
    assert answer.headers["x-request-id"]


BOUNDED = [
    (name, place, parameter, schema)
    for name, (_, _, operation) in OPERATIONS.items()
    for place, parameter, schema in [
        *(
            (parameter["in"], parameter["name"], parameter["schema"])
            for parameter in operation.get("parameters", [])
            if parameter["in"] != "header"
        ),
        *(
            ("body", field, schema)
            for content in operation.get("requestBody", {"content": {}})["content"].values()
            if "$ref" in content["schema"]
            for field, schema in DOCUMENT["components"]["schemas"][
                content["schema"]["$ref"].rpartition("/")[2]
            ]
            .get("properties", {})
            .items()
            # What stands in the path is not looked at a second time.
            if field not in {parameter["name"] for parameter in operation.get("parameters", [])}
        ),
    ]
]


def beyond(schema: dict[str, Any]) -> Iterator[Any]:
    """Values that are just past what a schema allows, and that JSON for the field's type can hold."""
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if schema.get("maximum", 2**31 - 1) < 2**31 - 1:
        yield schema["maximum"] + 1
    if schema.get("minimum", -(2**31)) > -(2**31):
        yield schema["minimum"] - 1
    if "maxItems" in schema:
        whole = schema["items"].get("type") == "integer"
        yield [number if whole else str(number) for number in range(1, schema["maxItems"] + 2)]
    for inner in beyond(schema["items"]) if schema.get("type") == "array" else ():
        yield [inner]


@pytest.mark.parametrize(
    ("name", "place", "field", "value"),
    [
        pytest.param(name, place, field, value, id=f"{name}-{field}-{number}")
        for name, place, field, schema in BOUNDED
        for number, value in enumerate(beyond(schema))
    ],
)
async def test_what_is_beyond_a_bound_is_refused_by_name(
    name: str, place: str, field: str, value: Any, client: httpx.AsyncClient, token: str
) -> None:
    path, verb, operation = OPERATIONS[name]
    parameters = operation.get("parameters", [])
    in_path = {one["name"]: one["example"] for one in parameters if one["in"] == "path"}
    query = {one["name"]: one["example"] for one in parameters if one["in"] == "query" and "example" in one}
    body = operation.get("requestBody", {"content": {}})["content"].get("application/json", {}).get("example")
    place_of = {"path": in_path, "query": query, "body": body}[place]
    assert place_of is not None
    place_of = {**place_of, field: value}
    in_path, query, body = (
        place_of if place == kind else rest
        for kind, rest in (("path", in_path), ("query", query), ("body", body))
    )
    for key, shown in in_path.items():
        path = path.replace("{" + key + "}", str(shown))
    headers = {"authorization": f"Bearer {token}"}
    answer = await client.request(verb, path, params=query, json=body, headers=headers)
    if answer.status_code == 501:
        assert answer.json()["details"][0]["reason"] == "NOT_IMPLEMENTED"
        return
    assert answer.status_code == 400, answer.text
    assert field.rpartition(".")[2] in camelled(answer.json()), answer.text


def camelled(status: dict[str, Any]) -> set[str]:
    """The last names of the fields that a refusal calls bad, as JSON spells them."""
    return {
        camel(re.sub(r"\[.*?\]", "", violation["field"]).rpartition(".")[2])
        for detail in status["details"]
        for violation in detail.get("fieldViolations", [])
    }


def test_the_fuzzer_finds_nothing(mesh: Mesh, tmp_path: Path) -> None:
    """A short run; `make fuzz` is the long one."""
    phases = "examples,fuzzing"
    assert fuzz(mesh, runs()[0], phases=phases, examples=5, seed=7, folder=tmp_path) == ""
