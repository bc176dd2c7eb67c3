# ruff: noqa: E501
"""Defects to be put into the shop's handlers, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from lmi_runtime.stress.subject import Mode

__all__ = ["SEEDED", "Seed"]


@dataclass(frozen=True, slots=True)
class Seed:
    """
    One defect.

    Attributes:
        name: What kind it is.
        app: File that it is put into.
        edits: Pairs of a text that is there once and what replaces it.
        oracles: Any of these is right to complain.
        about: A word that the finding has to contain.
        mode: As in `StressOptions`.
    """

    name: str
    app: str
    edits: tuple[tuple[str, str], ...]
    oracles: frozenset[str]
    about: str = ""
    mode: Mode | None = None

    @property
    def reference(self) -> str:
        """What the handler is called."""
        return "app.handler" if self.app == "app.py" else "app_async.handle"


def _threads(name: str, oracles: str, about: str, *edits: tuple[str, str]) -> Seed:
    return Seed(name, "app.py", edits, frozenset(oracles.split()), about)


def _tasks(name: str, oracles: str, about: str, *edits: tuple[str, str]) -> Seed:
    return Seed(name, "app_async.py", edits, frozenset(oracles.split()), about)


SEEDED = (
    _threads(
        "request id in a global, logged later",
        "isolation",
        "app.CURRENT",
        ("COUNTS = {", 'CURRENT = ""\nCOUNTS = {'),
        (
            '    logger.info("priced", extra={"sku": sku, "request": context.aws_request_id})\n',
            "    global CURRENT\n    CURRENT = context.aws_request_id\n",
        ),
        (
            "    size = receipt",
            '    logger.info("priced", extra={"request": CURRENT})\n    size = receipt',
        ),
    ),
    _threads(
        "log keys that the module keeps",
        "isolation",
        "app.KEYS",
        ("COUNTS = {", "KEYS: dict[str, str] = {}\nCOUNTS = {"),
        (
            '    logger.info("priced", extra={"sku": sku, "request": context.aws_request_id})\n',
            '    KEYS["user"] = user\n',
        ),
        ("    size = receipt", '    logger.info("priced", extra=KEYS)\n    size = receipt'),
    ),
    _threads(
        "mutable default argument",
        "leak isolation",
        "app.receipt",
        (
            "def receipt(text: str) -> int:",
            "def receipt(text: str, seen: list[str] = []) -> int:\n    seen.append(text)",
        ),
    ),
    _threads(
        "list of the module grows",
        "leak",
        "app.SEEN",
        ("COUNTS = {", "SEEN: list[int] = []\nCOUNTS = {"),
        ("    count()\n", "    count()\n    SEEN.append(1)\n"),
    ),
    _threads(
        "cache keyed without the tenant",
        "isolation",
        "app.CACHE",
        ("    key = (tenant, sku)\n", '    key = ("all", sku)\n'),
    ),
    _threads(
        "environment written",
        "environment",
        "os.environ['SHOP_USER']",
        ("    count()\n", '    count()\n    os.environ["SHOP_USER"] = user\n'),
    ),
    _threads(
        "fixed name in the temporary directory",
        "environment",
        "receipt.txt",
        (
            '    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:\n',
            '    with open(os.path.join(tempfile.gettempdir(), "receipt.txt"), "w") as file:\n',
        ),
    ),
    _threads(
        "logging handler in every invocation",
        "leak",
        "logging.getLogger('shop.audit')",
        (
            "    count()\n",
            '    count()\n    logging.getLogger("shop.audit").addHandler(logging.NullHandler())\n',
        ),
        ("import json\n", "import json\nimport logging\n"),
    ),
    _threads(
        "lost update of a counter",
        "serial",
        "app.COUNTS",
        (
            '    with COUNTS_LOCK:\n        COUNTS["requests"] += 1\n',
            '    before = COUNTS["requests"]\n    COUNTS["requests"] = int(before) + 1\n',
        ),
    ),
    _threads(
        "lazy client made twice",
        "serial exception",
        "",
        ("COUNTS = {", "CLIENTS: list[Any] = []\nCOUNTS = {"),
        (
            "    item = item_for",
            '    if not CLIENTS:\n        CLIENTS.append(inventory.client("lazy"))\n    item = item_for',
        ),
    ),
    _threads(
        "key checked and then taken out",
        "exception",
        "KeyError",
        ("COUNTS = {", 'ONCE = {"first": 1}\nCOUNTS = {'),
        (
            "    item = item_for",
            '    if "first" in ONCE:\n        label("x")\n        ONCE.pop("first")\n    item = item_for',
        ),
    ),
    _threads(
        "two locks in two orders",
        "deadlock",
        "CACHE_LOCK",
        (
            "    count()\n",
            "    with COUNTS_LOCK, CACHE_LOCK:\n        label(sku)\n",
        ),
        (
            "    price = CONFIG",
            "    with CACHE_LOCK, COUNTS_LOCK:\n        label(sku)\n    price = CONFIG",
        ),
    ),
    _threads(
        "thread left running",
        "leak",
        "threads",
        (
            "    count()\n",
            "    count()\n    threading.Thread(target=threading.Event().wait, daemon=True).start()\n",
        ),
    ),
    _threads(
        "descriptor left open",
        "leak",
        "open files",
        ("    count()\n", "    count()\n    os.open(os.devnull, os.O_RDONLY)\n"),
    ),
    _threads(
        "shared generator seeded",
        "environment",
        "random",
        ("random.Random(sku).random()", "(random.seed(sku), random.random())[1]"),
    ),
    _threads(
        "current directory changed",
        "environment",
        "directory",
        ("    count()\n", "    count()\n    os.chdir(tempfile.gettempdir())\n"),
    ),
    Seed(
        "fixed name, one process each",
        "app.py",
        (
            (
                '    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:\n',
                '    with open(os.path.join(tempfile.gettempdir(), "receipt.txt"), "w") as file:\n',
            ),
        ),
        frozenset({"environment"}),
        "receipt.txt",
        "process",
    ),
    _tasks(
        "global across an await",
        "isolation serial",
        "",
        ("IN_FLIGHT: set", 'CURRENT = ""\nIN_FLIGHT: set'),
        ("    IN_FLIGHT.add", "    global CURRENT\n    CURRENT = USER.get()\n    IN_FLIGHT.add"),
        ('"line": line.result()', '"line": CURRENT'),
    ),
    _tasks(
        "semaphore not released when cancelled",
        "deadlock deadline",
        "",
        ("asyncio.Semaphore(2)", "asyncio.Semaphore(1)"),
        (
            "        async with SLOTS:\n            price = await price_of(context.tenant_id, sku)\n",
            "        await SLOTS.acquire()\n        price = await price_of(context.tenant_id, sku)\n        SLOTS.release()\n",
        ),
    ),
    _tasks(
        "slot of several lost when cancelled",
        "deadline",
        "SLOTS",
        (
            "        async with SLOTS:\n            price = await price_of(context.tenant_id, sku)\n",
            "        await SLOTS.acquire()\n        price = await price_of(context.tenant_id, sku)\n        SLOTS.release()\n",
        ),
    ),
    _tasks(
        "entry left behind when cancelled",
        "deadline",
        "IN_FLIGHT",
        ("    try:\n", "    if True:\n"),
        ("    finally:\n        IN_FLIGHT.discard", "    IN_FLIGHT.discard"),
    ),
    _tasks(
        "task left running",
        "leak",
        "tasks",
        ("    IN_FLIGHT.add", "    asyncio.create_task(asyncio.sleep(3600))\n    IN_FLIGHT.add"),
    ),
    _tasks(
        "count across an await",
        "serial",
        "app_async.COUNTS",
        ("IN_FLIGHT: set", 'COUNTS = {"n": 0}\nIN_FLIGHT: set'),
        (
            "    IN_FLIGHT.add",
            '    before = COUNTS["n"]\n    await asyncio.sleep(0)\n    COUNTS["n"] = before + 1\n    IN_FLIGHT.add',
        ),
    ),
)
