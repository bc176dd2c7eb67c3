"""Two invocations read the same number from a file in the scratch folder."""

import atexit
import os
import shutil
import tempfile
import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("file-io", "lambda", "lost-update")
SOURCE = "A sequence number kept in a file: read, add one, write"


FOLDER = tempfile.mkdtemp(prefix="known-bugs-")
PATH = os.path.join(FOLDER, "sequence")
LOCK = None
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def read():
    with open(PATH) as file:
        return int(file.read())


def write(number):
    with open(PATH, "w") as file:
        file.write(str(number))


def make_state():
    global LOCK
    LOCK = threading.Lock()
    write(0)
    return []


def threads(issued):
    def handle():
        number = read() + 1
        write(number)
        issued.append(number)

    return [handle, handle]


def invariant(issued):
    return sorted(issued) == [1, 2]
