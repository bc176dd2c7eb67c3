"""The reader takes the new host and the old port."""

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("torn-read", "config")
SOURCE = "A reloaded setting that consists of two attributes"


class Settings:
    def __init__(self):
        self.host = "blue"
        self.port = 1
        self.endpoint = ("blue", 1)
        self.used = []

    def reload(self):
        self.host = "green"
        self.port = 2

    def connect(self):
        self.used.append((self.host, self.port))


def make_state():
    return Settings()


def threads(settings):
    return [settings.reload, settings.connect]


def invariant(settings):
    return settings.used[0] in (("blue", 1), ("green", 2))
