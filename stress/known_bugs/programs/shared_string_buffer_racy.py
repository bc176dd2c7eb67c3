"""Two invocations render their answers into one buffer."""

import io

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("module-global", "lambda", "cross-talk")
SOURCE = "A module-level io.StringIO, kept to save an allocation"


BUFFER = io.StringIO()


def render(user):
    buffer = BUFFER
    buffer.seek(0)
    buffer.truncate()
    buffer.write("hello ")
    buffer.write(user)
    return buffer.getvalue()


def make_state():
    return []


def threads(pages):
    def handle(user):
        pages.append((user, render(user)))

    return [lambda: handle("ann"), lambda: handle("bob")]


def invariant(pages):
    return len(pages) == 2 and all(page == "hello " + user for user, page in pages)
