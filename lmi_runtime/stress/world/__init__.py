"""Make thousands of runs start alike: what a handler may change, captured, restored, compared."""

from lmi_runtime.stress.world.capture import Change, Changes, Reading, World, compare
from lmi_runtime.stress.world.fingerprints import canonical, fingerprint
from lmi_runtime.stress.world.nodes import (
    ABSENT,
    Difference,
    Node,
    Tree,
    blank,
    differences,
    render,
    sizes,
    unordered,
)
from lmi_runtime.stress.world.process import Keeper, Whole

__all__ = [
    "ABSENT",
    "Change",
    "Changes",
    "Difference",
    "Keeper",
    "Node",
    "Reading",
    "Tree",
    "Whole",
    "World",
    "blank",
    "canonical",
    "compare",
    "differences",
    "fingerprint",
    "render",
    "sizes",
    "unordered",
]
