"""Events by a JSON schema of the user's own: the part of the standard that payloads use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.stress.events.parts import DOCUMENTS, NAMES, TEXTS
from lmi_runtime.stress.events.schema_check import (
    Schema,
    Validator,
    canonical,
    constraints,
    merged,
    types_of,
)

__all__ = ["json_schema"]

_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda at: at.replace(microsecond=0)
)
_LARGE = 2**31
_LABELS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
_FORMATS: Mapping[str, SearchStrategy[str]] = {
    "date-time": _TIMES.map(lambda at: at.isoformat() + "Z"),
    "date": _TIMES.map(lambda at: at.date().isoformat()),
    "time": _TIMES.map(lambda at: at.time().isoformat() + "Z"),
    "email": st.builds("{}@{}.example".format, _LABELS, _LABELS),
    "hostname": _LABELS.map("{}.example".format),
    "ipv4": st.ip_addresses(v=4).map(str),
    "ipv6": st.ip_addresses(v=6).map(str),
    "uri": _LABELS.map("https://example.com/{}".format),
    "uuid": st.uuids(version=4).map(str),
}
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS)
_ANYTHING = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=2), DOCUMENTS)


def json_schema(schema: Schema | bool) -> SearchStrategy[Any]:
    """
    Draw events that a JSON schema accepts, with no more in them than it asks for.

    Known are ``type``, ``enum``, ``const``, ``$ref`` within the schema, ``allOf``, ``anyOf``,
    ``oneOf``, ``not``, and the usual limits on objects, lists, strings and numbers. Formats that
    are not known are taken as free text, as the standard says.

    Args:
        schema: As read from JSON, draft 2020-12 or 7.

    Raises:
        ConfigurationError: It uses a keyword that is not known here, or contradicts itself in a
            way that can be seen beforehand; says where.
    """
    validator = Validator(schema)
    return _Builder(validator).build(schema, "#")


@dataclass(slots=True)
class _Builder:
    """Thread safety: used by one thread, while one strategy is made."""

    validator: Validator
    by_reference: dict[str, SearchStrategy[Any]] = field(default_factory=dict)

    def build(self, schema: Schema | bool, where: str) -> SearchStrategy[Any]:
        if schema is True or schema == {}:
            return _ANYTHING
        if not isinstance(schema, Mapping):
            raise ConfigurationError(f"{where}: nothing can be valid where the schema is false")
        if "const" in schema:
            return self._filtered(schema, st.just(schema["const"]))
        if "enum" in schema:
            return self._one_of_enum(schema, where)
        if "$ref" in schema:
            return self._referred(schema, where)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, where)
        if "allOf" in schema:
            rest = {k: v for k, v in schema.items() if k != "allOf"}
            whole = merged([rest, *(self._inlined(part) for part in schema["allOf"])])
            return self._filtered(schema, self.build(whole, where))
        plain = st.one_of([self._of_type(kind, schema, where) for kind in types_of(schema)])
        return self._filtered(schema, plain) if "not" in schema else plain

    def _filtered(self, schema: Schema, plain: SearchStrategy[Any]) -> SearchStrategy[Any]:
        return plain.filter(lambda value: self.validator.accepts(value, schema))

    def _one_of_enum(self, schema: Schema, where: str) -> SearchStrategy[Any]:
        valid = [value for value in schema["enum"] if self.validator.accepts(value, schema)]
        if not valid:
            raise ConfigurationError(f"{where}/enum: none of its values is valid")
        return st.sampled_from(valid)

    def _referred(self, schema: Schema, where: str) -> SearchStrategy[Any]:
        limits = constraints(schema)
        key = canonical(limits)
        if key not in self.by_reference:
            target = self.validator.resolve(limits.pop("$ref"))
            # Entered first, so that a schema may refer to itself.
            self.by_reference[key] = st.deferred(lambda: made[0])
            whole = merged([limits, self._inlined(target)]) if limits else target
            plain = self.build(whole, schema["$ref"])
            made = [self._filtered(schema, plain) if limits else plain]
        return self.by_reference[key]

    def _inlined(self, schema: Schema | bool) -> Schema | bool:
        """The schema with the references at its top replaced by what they refer to."""
        seen = set()
        while isinstance(schema, Mapping) and "$ref" in schema:
            if schema["$ref"] in seen:
                raise ConfigurationError(f"{schema['$ref']}: refers to nothing but itself")
            seen.add(schema["$ref"])
            rest = {k: v for k, v in schema.items() if k != "$ref"}
            target = self.validator.resolve(schema["$ref"])
            schema = merged([rest, target]) if rest else target
        return schema

    def _alternatives(self, schema: Schema, keyword: str, where: str) -> SearchStrategy[Any]:
        shared = {k: v for k, v in constraints(schema).items() if k != keyword}
        options: list[SearchStrategy[Any]] = []
        for index, option in enumerate(schema[keyword]):
            if option is False:
                continue
            if "$ref" in shared:
                option = self._inlined(option)
            whole = merged([shared, option]) if shared else option
            options.append(self.build(whole, f"{where}/{keyword}/{index}"))
        if not options:
            raise ConfigurationError(f"{where}/{keyword}: there is nothing to choose from")
        chosen = st.one_of(options)
        # Alternatives overlap, and what is beside them has been merged by hand.
        return self._filtered(schema, chosen) if shared or keyword == "oneOf" else chosen

    def _of_type(self, kind: str, schema: Schema, where: str) -> SearchStrategy[Any]:
        match kind:
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "string":
                return _strings(schema, where)
            case "integer" | "number":
                return _numbers(schema, where, whole=kind == "integer")
            case "array":
                return self._arrays(schema, where)
            case _:
                return self._objects(schema, where)

    def _arrays(self, schema: Schema, where: str) -> SearchStrategy[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        heads = schema.get("prefixItems", [])
        first = [self.build(s, f"{where}/prefixItems/{i}") for i, s in enumerate(heads)]
        first = first if most is None else first[:most]
        rest = schema.get("items", True)
        if rest is False:
            return st.tuples(*first).map(list)
        # As many as the list of heads has; the standard would take fewer, too.
        more = st.lists(
            self.build(rest, f"{where}/items"),
            min_size=max(0, least - len(first)),
            max_size=max(0, (least + 3 if most is None else most) - len(first)),
            unique_by=canonical if schema.get("uniqueItems") else None,
        )
        if not first:
            return more
        both = st.builds(lambda head, tail: [*head, *tail], st.tuples(*first), more)
        return self._filtered(schema, both) if schema.get("uniqueItems") else both

    def _objects(self, schema: Schema, where: str) -> SearchStrategy[Any]:
        known = schema.get("properties", {})
        required = schema.get("required", [])
        others = schema.get("additionalProperties", True)
        if others is False and (missing := [n for n in required if n not in known]):
            raise ConfigurationError(f"{where}/required: {missing[0]!r} may not be there")
        parts = {
            name: self.build(known.get(name, others), f"{where}/properties/{name}")
            for name in (*required, *known)
            if known.get(name, others) is not False
        }
        fixed = st.fixed_dictionaries(
            {name: parts[name] for name in dict.fromkeys(required)},
            optional={name: part for name, part in parts.items() if name not in required},
        )
        least, most = schema.get("minProperties", 0), schema.get("maxProperties")
        wanted = max(least - len(parts), 0)
        if isinstance(others, Mapping) or (others is True and wanted):
            extra = st.dictionaries(
                NAMES.filter(lambda name: name not in known),
                self.build(others, f"{where}/additionalProperties"),
                min_size=wanted,
                max_size=wanted + 2 if most is None else max(most - len(required), wanted),
            )
            fixed = st.builds(lambda more, own: {**more, **own}, extra, fixed)
        if least or most is not None:
            return fixed.filter(lambda v: least <= len(v) and (most is None or len(v) <= most))
        return fixed


def _strings(schema: Schema, where: str) -> SearchStrategy[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" in schema:
        found = _by_pattern(schema["pattern"], f"{where}/pattern")
    elif schema.get("format") in _FORMATS:
        found = _FORMATS[schema["format"]]
    else:
        return st.text(min_size=least, max_size=max(least, 16) if most is None else most)
    if not least and most is None:
        return found
    return found.filter(lambda text: least <= len(text) and (most is None or len(text) <= most))


def _by_pattern(pattern: str, where: str) -> SearchStrategy[str]:
    # "$" lets a line end follow in Python, not in a schema.
    strict = re.sub(r"(?<!\\)\$$", r"\\Z", pattern)
    try:
        return st.from_regex(re.compile(strict, re.ASCII))
    except re.error as error:
        raise ConfigurationError(f"{where}: {pattern!r} is not understood: {error}") from error


def _numbers(schema: Schema, where: str, *, whole: bool) -> SearchStrategy[Any]:
    step = schema.get("multipleOf")
    low, high = _limits(schema)
    if step is None and not whole:
        return _floats(schema, low, high)
    grid = Decimal(str(step)) if step is not None else Decimal(1)
    if whole:
        # Of the multiples of 5/2, those of 5 are whole numbers.
        grid = Decimal(Fraction(grid).numerator)
    first = None if low is None else int((low / grid).to_integral_value(ROUND_CEILING))
    last = None if high is None else int((high / grid).to_integral_value(ROUND_FLOOR))
    # The limits themselves may be excluded.
    if first is not None and first * grid == _decimal(schema, "exclusiveMinimum"):
        first += 1
    if last is not None and last * grid == _decimal(schema, "exclusiveMaximum"):
        last -= 1
    # Beyond that, numbers are no longer exact in every language.
    first = min(-_LARGE, last or 0) if first is None else first
    last = max(_LARGE, first) if last is None else last
    if first > last:
        raise ConfigurationError(f"{where}: no number is valid")
    counts = st.integers(first, last)
    if grid == int(grid):
        return counts.map(lambda n: n * int(grid))
    return counts.map(lambda n: float(n * grid))


def _floats(schema: Schema, low: Decimal | None, high: Decimal | None) -> SearchStrategy[float]:
    return st.floats(
        None if low is None else float(low),
        None if high is None else float(high),
        allow_nan=False,
        allow_infinity=False,
        exclude_min=low is not None and low == _decimal(schema, "exclusiveMinimum"),
        exclude_max=high is not None and high == _decimal(schema, "exclusiveMaximum"),
    )


def _limits(schema: Schema) -> tuple[Decimal | None, Decimal | None]:
    lows = [_decimal(schema, "minimum"), _decimal(schema, "exclusiveMinimum")]
    highs = [_decimal(schema, "maximum"), _decimal(schema, "exclusiveMaximum")]
    return (
        max((low for low in lows if low is not None), default=None),
        min((high for high in highs if high is not None), default=None),
    )


def _decimal(schema: Schema, keyword: str) -> Decimal | None:
    return Decimal(str(schema[keyword])) if keyword in schema else None
