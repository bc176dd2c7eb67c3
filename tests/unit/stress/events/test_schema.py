"""Events by a schema are valid by it, by another judge too, and as simple as it lets them be."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.networks import IPvAnyAddress

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.stress.events import json_schema
from lmi_runtime.stress.events.schema_check import Validator

quick = settings(database=None, suppress_health_check=list(HealthCheck))
first = settings(quick, phases=[Phase.generate])  # what it tries first and shrinks towards


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: Annotated[str, Field(pattern="^[a-z]{3}-[0-9]{2}$")]
    count: Annotated[int, Field(ge=1, lt=100)]
    price: Annotated[float, Field(gt=0, le=10)] | None = None


class Card(BaseModel):
    kind: Literal["card"]
    number: Annotated[str, Field(min_length=12, max_length=19)]


class Transfer(BaseModel):
    kind: Literal["transfer"]
    iban: str


class Order(BaseModel):
    lines: Annotated[list[Line], Field(min_length=1, max_length=3)]
    payment: Annotated[Card | Transfer, Field(discriminator="kind")]
    placed: datetime
    status: Literal["new", "paid"] = "new"
    tags: Annotated[set[Literal["a", "b", "c"]], Field(min_length=1)] = {"a"}
    labels: dict[str, int] = {}
    pair: tuple[int, str] = (1, "a")
    parent: Order | None = None
    site: AnyUrl | None = None


ORDER = TypeAdapter(Order).json_schema()


@given(json_schema(ORDER))
def test_events_are_valid_by_the_model_that_the_schema_is_of(event: Any) -> None:
    Order.model_validate_json(json.dumps(event))
    assert Validator(ORDER).accepts(event)


def test_the_simplest_event_has_only_what_is_required() -> None:
    event = find(json_schema(ORDER), lambda _: True, settings=first)

    assert event == {
        "lines": [{"sku": "aaa-00", "count": 1}],
        "payment": event["payment"],
        "placed": "2000-01-01T00:00:00Z",
    }
    assert event["payment"] == {"kind": "card", "number": "0" * 12}


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        (True, None),
        ({}, None),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"], "minimum": 3}, None),
        ({"const": {"a": [1]}}, {"a": [1]}),
        ({"enum": ["b", "a"]}, "b"),
        ({"enum": [1, 20], "type": "integer", "minimum": 5}, 20),
        ({"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5}, 5),
        ({"type": "integer", "maximum": -7}, -7),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1, "multipleOf": 0.01}, 0.01),
        ({"type": "integer", "multipleOf": 2.5, "minimum": 1}, 5),
        ({"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 3}, 2),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "00"),
        ({"type": "string", "pattern": "^a+$", "minLength": 2}, "aa"),
        ({"type": "string", "format": "email"}, "a@a.example"),
        ({"type": "string", "format": "anything"}, ""),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2}, None),
        ({"prefixItems": [{"type": "null"}, {"const": 1}], "items": False}, [None, 1]),
        ({"prefixItems": [{"const": 1}], "minItems": 2, "items": {"const": 1}}, [1, 1]),
        ({"type": "object", "required": ["x"]}, None),
        ({"type": "object", "minProperties": 1, "additionalProperties": {"const": 1}}, {"a": 1}),
        ({"properties": {"a": {"const": 1}}, "required": ["a"]}, {"a": 1}),
        ({"properties": {"a": False, "b": {"const": 1}}, "maxProperties": 0}, {}),
        ({"allOf": [{"type": "integer"}, {"minimum": 2}, {"not": {"const": 2}}]}, 3),
        ({"anyOf": [{"minimum": 3}, False], "type": "integer"}, 3),
        ({"oneOf": [{"type": "integer"}, {"type": "integer", "minimum": 0}]}, -1),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"const": 1}}}, 1),
        ({"$ref": "#/$defs/n", "minimum": 4, "$defs": {"n": {"type": "integer"}}}, 4),
        (
            {
                "allOf": [{"$ref": "#/$defs/base"}, {"required": ["b"]}],
                "properties": {"b": {"const": 2}},
                "$defs": {"base": {"properties": {"a": {"const": 1}}, "required": ["a"]}},
            },
            {"a": 1, "b": 2},
        ),
        ({"type": "integer", "x-owner": "shop", "description": "n", "default": 1}, 0),
    ],
)
def test_keywords(schema: Any, example: Any) -> None:
    """`example`: the simplest value, None where it does not matter or is that."""
    valid = Validator(schema).accepts
    strategy = json_schema(schema)

    @settings(quick, max_examples=settings().max_examples // 5)
    @given(strategy)
    def all_are_valid(value: Any) -> None:
        assert valid(value)
        assert json.loads(json.dumps(value)) == value

    all_are_valid()
    if example is not None:
        assert find(strategy, lambda _: True, settings=quick) == example


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"const": 1}, [1, 1.0], [True, 2]),
        ({"enum": [[1], "a"]}, [[1], "a"], [1, "b"]),
        ({"pattern": "b$"}, ["ab", 5], ["ab\n", "ba"]),
        ({"multipleOf": 0.1}, [0.3, 1.1, 7], [0.35]),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, [1.5], [1, 2]),
        ({"uniqueItems": True}, [[1, 2], [1, True], {}], [[1, 1], [{"a": 1}, {"a": 1}]]),
        ({"prefixItems": [{"type": "string"}], "items": False}, [["a"], []], [[1], ["a", 1]]),
        ({"additionalProperties": False, "properties": {"a": {}}}, [{"a": 1}], [{"b": 1}]),
        ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, [1, 3.5], [4, 2.5]),
        ({"not": {"type": "null"}}, [1], [None]),
        ({"type": "object", "minProperties": 1}, [{"a": 1}], [{}, []]),
        (False, [], [None, 1]),
    ],
)
def test_the_validator_tells_good_from_bad(
    schema: Any, valid: list[Any], invalid: list[Any]
) -> None:
    accepts = Validator(schema).accepts

    assert [value for value in valid if not accepts(value)] == []
    assert [value for value in invalid if accepts(value)] == []


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        (False, "#: nothing can be valid"),
        ("text", "#: expected a schema"),
        ({"type": "text"}, "#/type: 'text' is none of null, boolean"),
        ({"properties": {"a": {"if": {}}}}, "#/properties/a/if: this keyword is not supported"),
        ({"anyOf": [{"patternProperties": {}}]}, "#/anyOf/0/patternProperties: this keyword"),
        ({"items": [{}]}, "#/items: a list of schemas is called prefixItems"),
        ({"properties": []}, "#/properties: expected an object"),
        ({"anyOf": {}}, "#/anyOf: expected a list"),
        ({"enum": "a"}, "#/enum: expected a list"),
        ({"enum": [1], "type": "string"}, "#/enum: none of its values is valid"),
        ({"oneOf": [False]}, "#/oneOf: there is nothing to choose from"),
        ({"$ref": "#/$defs/x"}, r"'#/\$defs/x': there is no '\$defs'"),
        ({"$ref": "other.json"}, "'other.json': only references within the schema"),
        ({"$ref": "#/title", "title": "t"}, "'#/title': what is there is no schema"),
        (
            {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}},
            "refers to nothing but itself",
        ),
        ({"type": "string", "pattern": "("}, "#/pattern: '\\(' is not understood"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "#: no number is valid"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no value is both"),
        (
            {"type": "object", "required": ["a"], "additionalProperties": False},
            "#/required: 'a' may not be there",
        ),
    ],
)
def test_schemas_that_cannot_be_followed_are_told_where(schema: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        json_schema(schema)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("date-time", datetime),
        ("uuid", "uuid"),
        ("ipv4", IPvAnyAddress),
        ("ipv6", IPvAnyAddress),
        ("uri", AnyUrl),
    ],
)
@given(data=st.data())
def test_formats(name: str, check: Any, data: st.DataObject) -> None:
    from uuid import UUID

    text = data.draw(json_schema({"type": "string", "format": name}))

    TypeAdapter(UUID if check == "uuid" else check).validate_python(text)
