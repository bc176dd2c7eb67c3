"""Does a value match a JSON schema? For the part of the standard that events are drawn by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias
from urllib.parse import unquote

from lmi_runtime.errors import ConfigurationError

__all__ = ["Schema", "Validator", "canonical", "constraints", "merged", "types_of"]

Schema: TypeAlias = Mapping[str, Any]

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_BY_TYPE = {
    "object": {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_ONE_SUBSCHEMA = ("items", "additionalProperties", "not")
_LISTS_OF_SUBSCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED_SUBSCHEMAS = ("properties", "$defs", "definitions")
_CONSTRAINTS = {"$ref", "allOf", "anyOf", "const", "enum", "not", "oneOf", "type"}.union(
    *_BY_TYPE.values()
)
# Known to the standard and not to us. Others, such as "x-owner", mean nothing by the standard.
_NOT_KNOWN = {
    "$dynamicRef",
    "$recursiveRef",
    "additionalItems",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "patternProperties",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
}


@dataclass(frozen=True, slots=True)
class Validator:
    """
    Checks values by one schema and what it defines.

    Attributes:
        root: The schema.

    Raises:
        ConfigurationError: The schema is not of a form that is known here.
    """

    root: Any  # a Schema or a boolean, once it has been checked

    def __post_init__(self) -> None:
        for where, schema in _subschemas(self.root, "#"):
            _check_keywords(schema, where)
            if isinstance(schema, Mapping) and "$ref" in schema:
                self.resolve(schema["$ref"])

    def resolve(self, pointer: Any) -> Schema | bool:
        """
        What a reference such as ``#/$defs/Order`` stands for.

        Raises:
            ConfigurationError: It leads out of the schema or to nothing.
        """
        found: Any = self.root
        if not isinstance(pointer, str) or pointer[:1] != "#":
            raise ConfigurationError(f"$ref {pointer!r}: only references within the schema work")
        for raw in pointer[1:].split("/")[1:]:
            step = unquote(raw).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise ConfigurationError(f"$ref {pointer!r}: there is no {step!r}") from error
        if not isinstance(found, Mapping | bool):
            raise ConfigurationError(f"$ref {pointer!r}: what is there is no schema")
        return found

    def accepts(self, value: Any, schema: Schema | bool | None = None) -> bool:
        """Whether `value` is valid by `schema`, by default the root."""
        schema = schema if schema is not None else self.root
        if isinstance(schema, bool):
            return schema
        return (
            self._combined(value, schema)
            and _is_one_of(value, schema)
            and ("type" not in schema or any(_is_type(value, kind) for kind in types_of(schema)))
            and self._in_limits(value, schema)
        )

    def _combined(self, value: Any, schema: Schema) -> bool:
        def fits(part: Schema | bool) -> bool:
            return self.accepts(value, part)

        return (
            ("$ref" not in schema or fits(self.resolve(schema["$ref"])))
            and all(map(fits, schema.get("allOf", ())))
            and any(map(fits, schema.get("anyOf", (True,))))
            and sum(map(fits, schema.get("oneOf", (True,)))) == 1
            and not ("not" in schema and fits(schema["not"]))
        )

    def _in_limits(self, value: Any, schema: Schema) -> bool:
        match value:
            case bool() | None:
                return True
            case str():
                return _string_fits(value, schema)
            case int() | float():
                return _number_fits(value, schema)
            case list():
                return self._array_fits(value, schema)
            case dict():
                return self._object_fits(value, schema)
            case _:
                return False

    def _array_fits(self, value: list[Any], schema: Schema) -> bool:
        heads = schema.get("prefixItems", [])
        parts = [*heads, *([schema.get("items", True)] * (len(value) - len(heads)))]
        return (
            _size_fits(len(value), schema, "Items")
            and (not schema.get("uniqueItems") or len({canonical(v) for v in value}) == len(value))
            and all(self.accepts(item, part) for item, part in zip(value, parts, strict=False))
        )

    def _object_fits(self, value: dict[str, Any], schema: Schema) -> bool:
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        return (
            _size_fits(len(value), schema, "Properties")
            and all(name in value for name in schema.get("required", ()))
            and all(self.accepts(item, known.get(name, others)) for name, item in value.items())
        )


def types_of(schema: Schema) -> Sequence[str]:
    """The types a value may have; without ``type``, those that the other keywords are about."""
    named = schema.get("type")
    if isinstance(named, str):
        return (named,)
    if named is not None:
        return tuple(named)
    meant = tuple(kind for kind, keywords in _BY_TYPE.items() if keywords & schema.keys())
    return meant or tuple(kind for kind in _TYPES if kind != "integer")


def constraints(schema: Schema) -> dict[str, Any]:
    """The schema without titles, defaults, definitions: with what decides on values."""
    return {keyword: value for keyword, value in schema.items() if keyword in _CONSTRAINTS}


def merged(parts: Sequence[Schema | bool]) -> Schema | bool:
    """
    One schema that is nearly as strict as all of them together; values still have to be checked.

    Args:
        parts: The schemas that all have to hold.
    """
    whole: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, bool):
            if not part:
                return False
            continue
        for keyword, value in part.items():
            whole[keyword] = _both(keyword, whole[keyword], value) if keyword in whole else value
    return whole


def _both(keyword: str, one: Any, other: Any) -> Any:
    both: Mapping[str, Callable[[], Any]] = {
        "properties": lambda: {
            **one,
            **{n: merged([one[n], s]) if n in one else s for n, s in other.items()},
        },
        "$defs": lambda: {**one, **other},
        "definitions": lambda: {**one, **other},
        "required": lambda: list(dict.fromkeys([*one, *other])),
        "enum": lambda: [value for value in one if value in other],
        "allOf": lambda: [*one, *other],
        "type": lambda: _common_types(one, other),
        "items": lambda: merged([one, other]),
        "additionalProperties": lambda: merged([one, other]),
    }
    if keyword in both:
        return both[keyword]()
    if keyword.startswith(("min", "exclusiveMin")):
        return max(one, other)
    if keyword.startswith(("max", "exclusiveMax")):
        return min(one, other)
    return other


def _common_types(one: str | list[str], other: str | list[str]) -> list[str]:
    ours, theirs = ([kinds] if isinstance(kinds, str) else kinds for kinds in (one, other))
    common = [kind for kind in ours if kind in theirs]
    if "integer" in {*ours, *theirs} and {"number"} & {*ours, *theirs} and "integer" not in common:
        common.append("integer")  # which is a number
    if not common:
        raise ConfigurationError(f"no value is both {one} and {other}")
    return common


def _subschemas(schema: Any, where: str) -> Iterator[tuple[str, Any]]:
    yield where, schema
    if not isinstance(schema, Mapping):
        return
    for keyword in _ONE_SUBSCHEMA:
        if keyword in schema:
            yield from _subschemas(schema[keyword], f"{where}/{keyword}")
    for keyword in _LISTS_OF_SUBSCHEMAS:
        for index, part in enumerate(_list(schema, keyword, where)):
            yield from _subschemas(part, f"{where}/{keyword}/{index}")
    for keyword in _NAMED_SUBSCHEMAS:
        parts = schema.get(keyword, {})
        if not isinstance(parts, Mapping):
            raise ConfigurationError(f"{where}/{keyword}: expected an object")
        for name, part in parts.items():
            yield from _subschemas(part, f"{where}/{keyword}/{name}")


def _list(schema: Schema, keyword: str, where: str) -> Sequence[Any]:
    value = schema.get(keyword, [])
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{where}/{keyword}: expected a list")
    return value


def _check_keywords(schema: Any, where: str) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise ConfigurationError(f"{where}: expected a schema: an object, true or false")
    if unknown := _NOT_KNOWN & schema.keys():
        raise ConfigurationError(f"{where}/{min(unknown)}: this keyword is not supported")
    if isinstance(schema.get("items"), list):
        raise ConfigurationError(f"{where}/items: a list of schemas is called prefixItems")
    _list(schema, "enum", where)
    _list(schema, "required", where)
    for kind in types_of(schema):
        if kind not in _TYPES:
            raise ConfigurationError(f"{where}/type: {kind!r} is none of {', '.join(_TYPES)}")


def _is_type(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def _is_one_of(value: Any, schema: Schema) -> bool:
    if "const" in schema and canonical(value) != canonical(schema["const"]):
        return False
    return "enum" not in schema or canonical(value) in map(canonical, schema["enum"])


def canonical(value: Any) -> str:
    """Equal exactly for what is equal in JSON: 1 and true are not, 1 and 1.0 are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _string_fits(value: str, schema: Schema) -> bool:
    pattern = re.sub(r"(?<!\\)\$$", r"\\Z", schema.get("pattern", ""))
    return _size_fits(len(value), schema, "Length") and bool(re.search(pattern, value, re.ASCII))


def _number_fits(value: float, schema: Schema) -> bool:
    step = schema.get("multipleOf")
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and (step is None or (Fraction(str(value)) / Fraction(str(step))).denominator == 1)
    )


def _size_fits(size: int, schema: Schema, what: str) -> bool:
    return bool(schema.get(f"min{what}", 0) <= size <= schema.get(f"max{what}", size))
