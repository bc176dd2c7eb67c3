"""The tenant is put where the whole process reads it."""

import os

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("environment", "lambda", "cross-talk")
SOURCE = "A Lambda habit: the tenant of the request in os.environ"


SEEN = []


def query(tenant):
    SEEN.append((tenant, os.environ["KNOWN_BUGS_TENANT"]))


def handle(tenant):
    SEEN.append((tenant, tenant))


def make_state():
    SEEN.clear()
    return SEEN


def threads(seen):
    return [lambda: handle("acme"), lambda: handle("globex")]


def invariant(seen):
    os.environ.pop("KNOWN_BUGS_TENANT", None)
    return len(seen) == 2 and all(asked == got for asked, got in seen)
