"""What the methods of builtin containers do to them."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Final, TypeAlias

from lmi_runtime.stress.watch.expressions import Mode

__all__ = ["METHODS"]

_Effects: TypeAlias = dict[str, tuple[Mode, bool]]


def _effects(mode: Mode, names: str, *, keyed: bool = False) -> _Effects:
    return {name: (mode, keyed) for name in names.split()}


_DICT: Final = (
    _effects("read", "copy items keys values __iter__ __len__")
    | _effects("read", "get __contains__ __getitem__", keyed=True)
    | _effects("update", "clear popitem update __ior__")
    | _effects("update", "pop setdefault __setitem__ __delitem__", keyed=True)
)
_ORDERED: Final = _DICT | _effects("update", "move_to_end")
_COUNTER: Final = (
    _DICT | _effects("read", "elements most_common total") | _effects("update", "subtract")
)
_LIST: Final = _effects("read", "copy count index __len__") | _effects(
    "update", "append clear extend insert pop remove reverse sort"
)
_DEQUE: Final = _LIST | _effects("update", "appendleft extendleft popleft rotate")
_SET: Final = (
    _effects("read", "copy difference intersection isdisjoint issubset issuperset")
    | _effects("read", "symmetric_difference union")
    | _effects("update", "add discard remove", keyed=True)
    | _effects("update", "clear difference_update intersection_update pop")
    | _effects("update", "symmetric_difference_update update")
)
_BYTEARRAY: Final = _effects("read", "copy count decode find hex index") | _effects(
    "update", "append clear extend insert pop remove reverse"
)

METHODS: Mapping[type, _Effects] = {
    bytearray: _BYTEARRAY,
    Counter: _COUNTER,
    defaultdict: _DICT,
    deque: _DEQUE,
    dict: _DICT,
    list: _LIST,
    OrderedDict: _ORDERED,
    set: _SET,
}
"""By exact type and name: how it is used, and whether only the item its first argument names."""
