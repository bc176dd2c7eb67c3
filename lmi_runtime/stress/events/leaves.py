"""Which strings of a document are free text, and how one is marked without losing its form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from lmi_runtime.stress.oracles.canary import Tokens

__all__ = ["UUID", "Leaves"]

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_EMAIL = re.compile(r"(?P<who>[\w.+-]+)(?P<where>@[\w-]+(?:\.[\w-]+)+)", re.ASCII)
_FIXED = re.compile(
    r"""
      [+-]?[\d.,_\s()/:%-]+                   # numbers, dates, times, telephone numbers, amounts
    | [+-]?\d*\.?\d+(?:e[+-]?\d+)?\s?[a-z]{0,3}  # 1.5e3, 12px, 30 kg, 5s
    | [+-]?(?:inf(?:inity)?|nan)              # what float() takes besides
    | \d{4}-\d\d(?:-\d\d(?:[T\s].*)?)?        # 2026-01-01T00:00:00Z
    | P(?:\d+[YMWD])*(?:T(?:\d+[HMS])+)?      # PT5M
    | v?\d+(?:\.\w+)+                         # 1.2.3rc1
    | (?:0x)?[0-9a-f]{8,}                     # digests
    | [0-9a-f:]*:[0-9a-f:.]+                  # addresses
    | \#[0-9a-f]{3,8}                         # colours
    | true|false|yes|no|on|off|null|none|undefined
    | \$.*                                    # $default, $context
    | (?:[a-z][a-z0-9+.-]*:)\S+               # arn:..., https://..., urn:...
    | /.*                                     # paths
    | [a-z]+/[a-z0-9.+*-]+(?:;.*)?            # media types
    | (?:[a-z0-9-]+\.)+[a-z]{2,}              # hosts
    | <.*                                     # XML
    | [a-z]{2}[-_][a-z]{2}(?:-\d)?            # en-GB
    | [a-z]{2}-[a-z]+-\d                      # us-east-1
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]*|[A-Z][a-zA-Z]*[:.][\w:.*-]+")
_BASE64 = re.compile(r"(?=.*[A-Z0-9+/=])(?:[A-Za-z0-9+/]{4}){4,}(?:[A-Za-z0-9+/]{2,3}={0,2})?")
_ENUM_KEYS = re.compile(
    r"""(?: .*[_-] | .*[a-z](?=[A-Z]) )?
    (?i:type|kind|status|action|state|method|op|operation|command|event|source|version|region
      |currency|country|locale|lang|language|format|mode|level|role|unit|stage|env|environment
      |category|class|scope|schema|encoding|protocol|__typename|tier|plan|zone|platform|channel
      |path|route|resource|topic|queue|bucket|table|algorithm|alg)""",
    re.VERBOSE,
)
_PERSONAL_KEYS = re.compile(
    r"""(?: .*[_:.-] | .*[a-z](?=[A-Z]) )?
    (?i:user|user[_-]?name|user[_-]?id|customer|customer[_-]?id|tenant|tenant[_-]?id|account[_-]?name|owner
      |author|name|email|mail|sub|message|text|comment|comments|note|notes|description|title
      |subject|body|content|greeting|reason|address|street|city|request[_-]?id|correlation[_-]?id
      |trace[_-]?id|session[_-]?id|session|user[_-]?agent)""",
    re.VERBOSE,
)
# Nothing with a form is longer, and some of the expressions take their time.
_LONG = 256


def _has_form(text: str) -> bool:
    """Whether a text is of a kind that something may parse."""
    bare = text.strip()
    if len(bare) > _LONG:
        return bare.startswith("<") or _BASE64.fullmatch(bare) is not None
    return any(form.fullmatch(bare) for form in (_FIXED, _CONSTANT, _BASE64))


@dataclass(frozen=True, slots=True)
class Leaves:
    """
    Marks strings for one invocation.

    Attributes:
        tokens: What to mark with.
        level: 1: only what stands under names such as ``user`` or ``message``, and UUIDs. 2: all
            that looks like free text.
    """

    tokens: Tokens
    level: int

    def leaf(self, key: str, text: str) -> str:
        """A string that stands under `key`, marked if it may be."""
        if UUID.fullmatch(text):
            return self.tokens.own_uuid(text)
        if not self._is_free(key, text):
            return text
        if len(text) <= _LONG and (match := _EMAIL.fullmatch(text)):
            return f"{match['who']}+{self.tokens.text}{match['where']}"
        return f"{text}-{self.tokens.text}"

    def _is_free(self, key: str, text: str) -> bool:
        if not any(map(str.isalpha, text)) or self.tokens.text in text:
            return False
        if self.level < 2 and not _PERSONAL_KEYS.fullmatch(key):
            return False
        return not (_ENUM_KEYS.fullmatch(key) or _has_form(text))

    def document(self, value: Any, key: str = "") -> Any:
        """
        A JSON value with its strings marked.

        Args:
            value: Is not changed.
            key: The name it stands under. Items of a list stand under that of the list.
        """
        match value:
            case str():
                return self.leaf(key, value)
            case dict():
                return {name: self.document(item, str(name)) for name, item in value.items()}
            case list():
                return [self.document(item, key) for item in value]
            case _:
                return value

    def attribute_value(self, value: Any, key: str) -> Any:
        """A DynamoDB value with its strings marked: ``{"S": "text"}``."""
        match value:
            case {"S": str(text)}:
                return {"S": self.leaf(key, text)}
            case {"SS": [*texts]}:
                return {"SS": [self.document(text, key) for text in texts]}
            case {"L": [*items]}:
                return {"L": [self.attribute_value(item, key) for item in items]}
            case {"M": dict(items)}:
                return {"M": {name: self.attribute_value(v, name) for name, v in items.items()}}
            case _:
                return value

    def form(self, text: str) -> str:
        """A query string or form with its values marked; as it is if nothing changes."""
        pairs = parse_qsl(text, keep_blank_values=True)
        marked = [(name, self.leaf(name, value)) for name, value in pairs]
        return text if marked == pairs else urlencode(marked)
