"""The reader takes half of the old pair and half of the new one."""

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("seqlock", "torn-read")
SOURCE = "A sequence lock whose reader forgets to look at the number again"


class Pair:
    def __init__(self):
        self.version = 0
        self.x = 0
        self.y = 0
        self.read_as = None

    def write(self):
        self.version += 1
        self.x = 1
        self.y = 1
        self.version += 1

    def read(self):
        while True:
            before = self.version
            if before % 2:
                continue
            pair = self.x, self.y
            if self.version != before:
                continue
            self.read_as = pair
            return


def make_state():
    return Pair()


def threads(pair):
    return [pair.write, pair.read]


def invariant(pair):
    return pair.read_as in ((0, 0), (1, 1))
