"""Reports of the stress harness made by hand: one of each kind that people get to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lmi_runtime.stress.model import (
    Access,
    ActorInfo,
    Conflict,
    Coverage,
    Deviation,
    Finding,
    Granularity,
    Location,
    Place,
    Report,
    Step,
    StepKind,
    Verdict,
)

SHOP = "/srv/shop/app.py"
POOL = "/srv/shop/pool.py"
BOTH = ("gil", "free-threaded")
GIL, FREE = Granularity.GIL, Granularity.FREE_THREADED


@dataclass
class Scene:
    """Steps, one after the other, with as few words as possible."""

    file: str = SHOP
    function: str = "handler"
    steps: list[Step] = field(default_factory=list)

    def __call__(
        self,
        actor: int,
        line: int = 0,
        source: str = "",
        *accesses: Access,
        kind: StepKind = "run",
        subject: str = "",
        detail: str = "",
        deviates: bool = False,
        time_s: float = 0.0,
        function: str = "",
        file: str = "",
    ) -> int:
        index = len(self.steps)
        place = Place(file or self.file, line, function or self.function) if line else None
        step = Step(
            index,
            actor,
            kind,
            place,
            source,
            accesses,
            subject,
            sum(map(ord, subject)),
            detail,
            deviates,
            time_s,
        )
        self.steps.append(step)
        return index


def invocations(count: int) -> tuple[ActorInfo, ...]:
    return tuple(
        ActorInfo(number, f"invocation {number + 1}", "thread", number + 1)
        for number in range(count)
    )


def reads(path: str, value: str = "") -> Access:
    return Access("read", location(path), value)


def writes(path: str, value: str = "") -> Access:
    return Access("write", location(path), value)


def updates(path: str, value: str = "") -> Access:
    return Access("update", location(path), value)


def location(path: str) -> Location:
    owner, _, key = path.rpartition("[" if path.endswith("]") else ".")
    return Location(sum(map(ord, owner)), key, path)


def failed(*findings: Finding, **changes: object) -> Report:
    coverage = Coverage(
        schedules=9,
        bound=0,
        bounds={GIL: 0},
        points=17,
        searches={"serial": 2, "bounded": 7},
        stopped_by="failure",
    )
    report = Report(
        subject="app.handler",
        verdict=Verdict.FAILED,
        findings=findings,
        coverage=coverage,
        seconds=0.08,
        seed=1,
        python="3.13.1",
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def lost_update() -> Report:
    scene = Scene()
    stock = "app.STOCK['sku-1']"
    scene(0, kind="start")
    first = scene(0, 12, "left = STOCK[event['sku']]", reads(stock, "5"))
    scene(1, kind="start", deviates=True)
    scene(1, 12, "left = STOCK[event['sku']]", reads(stock, "5"))
    second = scene(1, 13, "STOCK[event['sku']] = left - event['amount']", writes(stock, "4"))
    scene(1, kind="end", detail="{'left': 4}")
    scene(0, 13, "STOCK[event['sku']] = left - event['amount']", writes(stock, "4"))
    scene(0, kind="end", detail="{'left': 4}")
    event = {"sku": "sku-1", "amount": 1}
    return failed(
        Finding(
            "serial",
            "Both invocations return {'left': 4}; one after the other, one of them returns "
            "{'left': 3}.",
            "Hold one lock from the read of app.STOCK['sku-1'] to its write.",
            schedule=(Deviation("preempt", 0, 3, 1),),
            preemptions=1,
            minimal=True,
            token="2gAxQzE3MDE6cHJlZW1wdDowOjM6MQ",
            events=(event, event),
            actors=invocations(2),
            steps=tuple(scene.steps),
            conflicts=(Conflict(location(stock), first, second),),
            object_path=stock,
        )
    )


def isolation_leak() -> Report:
    scene = Scene()
    current = "app.CURRENT_REQUEST"
    scene(0, kind="start")
    first = scene(0, 21, "CURRENT_REQUEST = context.aws_request_id", writes(current, "'req-1'"))
    scene(0, 22, "order = parse(event)")
    scene(0, 9, 'return Order(**json.loads(event["body"]))', function="parse")
    scene(1, kind="start", deviates=True)
    second = scene(1, 21, "CURRENT_REQUEST = context.aws_request_id", writes(current, "'req-2'"))
    scene(1, 22, "order = parse(event)")
    scene(1, 9, 'return Order(**json.loads(event["body"]))', function="parse")
    scene(1, 23, "return reply(order)")
    scene(
        1,
        15,
        'return {"statusCode": 200, "headers": {"x-request-id": CURRENT_REQUEST}}',
        reads(current, "'req-2'"),
        function="reply",
    )
    scene(1, kind="end", detail="{'statusCode': 200, 'headers': {'x-request-id': 'req-2'}}")
    scene(0, 23, "return reply(order)")
    scene(
        0,
        15,
        'return {"statusCode": 200, "headers": {"x-request-id": CURRENT_REQUEST}}',
        reads(current, "'req-2'"),
        function="reply",
    )
    scene(0, kind="end", detail="{'statusCode': 200, 'headers': {'x-request-id': 'req-2'}}")
    return failed(
        Finding(
            "isolation",
            "The result of invocation 1 holds the request id of invocation 2 (req-2).",
            "Use `lmi_runtime.current()` instead of a module global for what belongs to one "
            "invocation.",
            schedule=(Deviation("preempt", 0, 5, 1),),
            preemptions=1,
            minimal=True,
            token="2gAyQzE3MDE6cHJlZW1wdDowOjU6MQ",
            events=({"body": '{"sku": "sku-1"}'}, {"body": '{"sku": "sku-1"}'}),
            actors=invocations(2),
            steps=tuple(scene.steps),
            conflicts=(Conflict(location(current), first, second),),
            object_path=current,
        )
    )


def deadlock() -> Report:
    scene = Scene(function="transfer")
    scene(0, kind="start")
    scene(0, 31, "with source.lock:", kind="acquire", subject="accounts['a'].lock")
    scene(1, kind="start", deviates=True)
    scene(1, 31, "with source.lock:", kind="acquire", subject="accounts['b'].lock")
    scene(1, 32, "with target.lock:", kind="wait", subject="accounts['a'].lock")
    scene(0, 32, "with target.lock:", kind="wait", subject="accounts['b'].lock")
    return failed(
        Finding(
            "deadlock",
            "Two invocations wait for each other's lock, for ever.",
            "Take the two locks in one order, for example by account name.",
            schedule=(Deviation("preempt", 0, 2, 1),),
            preemptions=1,
            minimal=True,
            token="2gAzQzE3MDE6cHJlZW1wdDowOjI6MQ",
            events=({"from": "a", "to": "b"}, {"from": "b", "to": "a"}),
            actors=invocations(2),
            steps=tuple(scene.steps),
            cycle=(
                "invocation 1 holds accounts['a'].lock, waits for accounts['b'].lock",
                "invocation 2 holds accounts['b'].lock, waits for accounts['a'].lock",
            ),
        )
    )


def lost_wakeup() -> Report:
    scene = Scene(file=POOL)
    idle, ready = "pool.idle", "pool.ready"
    scene(0, kind="start")
    first = scene(0, 40, "while not self.idle:", reads(idle, "[]"), function="Pool.take")
    scene(1, kind="start", deviates=True)
    second = scene(
        1, 52, "self.idle.append(lease)", updates(idle, "[<Lease 1>]"), function="Pool.give"
    )
    scene(
        1,
        53,
        "self.ready.set()",
        kind="notify",
        subject=ready,
        detail="(nobody waits)",
        function="Pool.give",
    )
    scene(1, kind="end")
    scene(0, 41, "self.ready.clear()", writes(ready, "False"), function="Pool.take")
    scene(0, 42, "self.ready.wait()", kind="wait", subject=ready, function="Pool.take")
    return failed(
        Finding(
            "deadlock",
            "Invocation 1 waits for pool.ready, which nobody will set: it was set before the "
            "wait began.",
            "Look at the state again under the condition's lock before waiting.",
            schedule=(Deviation("preempt", 0, 1, 1),),
            preemptions=1,
            minimal=True,
            token="2gA0QzE3MDE6cHJlZW1wdDowOjE6MQ",
            actors=(
                ActorInfo(0, "take", "thread"),
                ActorInfo(1, "give", "thread"),
            ),
            steps=tuple(scene.steps),
            conflicts=(Conflict(location(idle), first, second),),
            object_path=idle,
            cycle=("take waits for pool.ready; everybody else has ended",),
        ),
        subject="pool.Pool",
    )


def asyncio_interleaving() -> Report:
    scene = Scene()
    tokens = "app.TOKENS['tenant-a']"
    scene(1, kind="start")
    first = scene(1, 18, "if tenant not in TOKENS:", reads(tokens, "missing"))
    scene(1, 19, "TOKENS[tenant] = await fetch(tenant)", kind="await", subject="sleep(0.05)")
    scene(2, kind="start")
    scene(2, 18, "if tenant not in TOKENS:", reads(tokens, "missing"), time_s=0.0)
    scene(2, 19, "TOKENS[tenant] = await fetch(tenant)", kind="await", subject="sleep(0.05)")
    scene(2, 19, "TOKENS[tenant] = await fetch(tenant)", kind="wake", deviates=True, time_s=0.05)
    second = scene(
        2,
        19,
        "TOKENS[tenant] = await fetch(tenant)",
        writes(tokens, "'token-2'"),
        time_s=0.05,
    )
    scene(2, kind="end", detail="'token-2'", time_s=0.05)
    scene(1, 19, "TOKENS[tenant] = await fetch(tenant)", kind="wake", time_s=0.05)
    scene(
        1,
        19,
        "TOKENS[tenant] = await fetch(tenant)",
        writes(tokens, "'token-1'"),
        time_s=0.05,
    )
    scene(1, kind="end", detail="'token-1'", time_s=0.05)
    coverage = Coverage(
        schedules=5,
        bound=0,
        points=8,
        searches={"serial": 2, "bounded": 3},
        stopped_by="failure",
    )
    return failed(
        Finding(
            "invariant",
            "The token of tenant-a was fetched twice, and the older one was kept.",
            "Use `lmi_runtime.Cache`, which fetches a key once however many ask for it.",
            schedule=(Deviation("task", 0, 4, 2),),
            preemptions=1,
            minimal=True,
            token="2gA1QzE3MDE6dGFzazowOjQ6Mg",
            events=({"tenant": "tenant-a"}, {"tenant": "tenant-a"}),
            actors=(
                ActorInfo(0, "event loop", "loop"),
                ActorInfo(1, "invocation 1", "task", 1),
                ActorInfo(2, "invocation 2", "task", 2),
            ),
            steps=tuple(scene.steps),
            conflicts=(Conflict(location(tokens), first, second),),
            object_path=tokens,
        ),
        mode="async",
        coverage=coverage,
    )


def free_threaded_warning() -> Report:
    scene = Scene()
    hits = "app.HITS"
    scene(0, kind="start")
    first = scene(0, 7, "HITS += 1", reads(hits, "0"))
    scene(1, kind="start", deviates=True)
    scene(1, 7, "HITS += 1", reads(hits, "0"))
    second = scene(1, 7, "HITS += 1", writes(hits, "1"))
    scene(1, kind="end", detail="1")
    scene(0, 7, "HITS += 1", writes(hits, "1"))
    scene(0, kind="end", detail="1")
    finding = Finding(
        "serial",
        "app.HITS is 1 after two invocations; in every serial order it is 2.",
        "Hold a lock around `HITS += 1`, or count per invocation and add up.",
        granularity=FREE,
        builds=("free-threaded",),
        schedule=(Deviation("preempt", 0, 1, 1),),
        preemptions=1,
        minimal=True,
        token="2gA2QzE3MDE6cHJlZW1wdDowOjE6MQ",
        events=({}, {}),
        actors=invocations(2),
        steps=tuple(scene.steps),
        conflicts=(Conflict(location(hits), first, second),),
        object_path=hits,
        warning=True,
    )
    return failed(
        finding,
        verdict=Verdict.PASSED,
        coverage=Coverage(
            schedules=48,
            bound=0,
            bounds={GIL: 2, FREE: 0},
            points=6,
            searches={"serial": 2, "bounded": 46},
            stopped_by="failure",
        ),
    )


def environment_write() -> Report:
    scene = Scene()
    region = "os.environ['AWS_REGION']"
    scene(0, kind="start")
    scene(0, 30, 'os.environ["AWS_REGION"] = event["region"]', writes(region, "'eu-west-1'"))
    scene(0, 31, "client = make_client()")
    scene(0, kind="end", detail="None")
    return failed(
        Finding(
            "environment",
            "The handler sets AWS_REGION in os.environ, which every invocation of the process "
            "shares.",
            "Pass the value as an argument: boto3.client(..., region_name=region).",
            token="2gA3QzE3MDE6",
            events=({"region": "eu-west-1"},),
            actors=invocations(1),
            steps=tuple(scene.steps),
            object_path=region,
        ),
        coverage=Coverage(schedules=1, bound=-1, points=4, searches={"serial": 1}),
    )


def long_counterexample() -> Report:
    """Two hundred steps that do not matter, a lock, a child thread, six that do."""
    scene = Scene(file=POOL, function="Pool.take")
    size, busy = "pool.size", "pool.busy"
    scene(0, kind="start")
    for number in range(14):
        scene(0, 60 + number, f"total_{number} = price(items[{number}])", function="handler")
    scene(0, 20, "with self.lock:", kind="acquire", subject="pool.lock")
    first = scene(0, 21, "if self.size < self.limit:", reads(size, "0"), reads("pool.limit", "1"))
    scene(0, 22, "self.lock.release()", kind="release", subject="pool.lock")
    scene(2, kind="start", deviates=True)
    for number in range(9):
        scene(2, 80 + number, f"log.debug('step {number}')", function="janitor")
    scene(1, kind="start", deviates=True)
    for number in range(14):
        scene(1, 60 + number, f"total_{number} = price(items[{number}])", function="handler")
    scene(1, 20, "with self.lock:", kind="acquire", subject="pool.lock")
    scene(1, 21, "if self.size < self.limit:", reads(size, "0"), reads("pool.limit", "1"))
    scene(1, 22, "self.lock.release()", kind="release", subject="pool.lock")
    scene(1, 23, "self.busy.append(connect())", updates(busy, "[<Connection 1>]"))
    second = scene(1, 24, "self.size += 1", reads(size, "0"), writes(size, "1"))
    for number in range(30):
        scene(1, 90, "for row in rows:", function="handler")
        scene(1, 91, f"seen.add(row)  # {number}", function="handler")
    scene(1, kind="end", detail="30")
    scene(0, 23, "self.busy.append(connect())", updates(busy, "[<Connection 1>, <Connection 2>]"))
    scene(0, 24, "self.size += 1", reads(size, "1"), writes(size, "2"))
    for number in range(40):
        scene(0, 90, "for row in rows:", function="handler")
        scene(0, 91, f"seen.add(row)  # {number}", function="handler")
    scene(0, kind="end", detail="40")
    scene(2, 95, "stop.wait()", kind="wait", subject="stop", function="janitor")
    scene(2, kind="end")
    return failed(
        Finding(
            "invariant",
            "pool.size is 2, the limit is 1.",
            "Count up while pool.lock is still held, then connect.",
            schedule=(Deviation("preempt", 0, 40, 2), Deviation("preempt", 2, 9, 1)),
            preemptions=2,
            token="2gA4QzE3MDE6cHJlZW1wdDowOjQwOjI6cHJlZW1wdDoyOjk6MQ",
            events=({"items": 14}, {"items": 14}),
            actors=(*invocations(2), ActorInfo(2, "janitor", "thread")),
            steps=tuple(scene.steps),
            conflicts=(Conflict(location(size), first, second),),
            object_path=size,
            traceback="Traceback (most recent call last):\n"
            '  File "/srv/shop/check.py", line 4, in invariant\n'
            "    assert pool.size <= pool.limit\n"
            "AssertionError\n",
        ),
        notes=("pool.idle is read and written without an order (lines 12 and 40 of pool.py)",),
    )


def crowd() -> Report:
    """More actors than a terminal has columns for."""
    scene = Scene()
    queue = "app.QUEUE"
    for actor in range(6):
        scene(actor, kind="start")
        scene(actor, 5, "QUEUE.append(event['id'])", updates(queue, str(list(range(actor + 1)))))
        if actor < 5:
            scene(actor, 6, "flush()", kind="wait", subject="barrier")
    scene(3, 6, "flush()", kind="wake", subject="barrier", deviates=True)
    scene(3, 7, "QUEUE.clear()", writes(queue, "[]"))
    scene(3, kind="end", detail="raises IndexError: pop from empty list")
    return failed(
        Finding(
            "exception",
            "Invocation 4 raised IndexError: pop from empty list.",
            actors=invocations(6),
            steps=tuple(scene.steps),
            schedule=(Deviation("forced", 5, 0, 3),),
            token="2gA5QzE3MDE6",
            object_path=queue,
        )
    )


HOSTILE_TEXT = "</script><img src=x onerror=alert(1)>\x1b[31m\u202e\ud800\n&quot;'\"`"


def hostile() -> Report:
    """Every string comes from somebody who does not wish us well."""
    bad = HOSTILE_TEXT
    path = f"app.CACHE[{bad!r}{bad}]"
    scene = Scene(file=f"/srv/{bad}/app.py", function=bad)
    first = scene(0, 1, bad, reads(path, bad), subject=bad, detail=bad)
    scene(0, 1, bad, kind="acquire", subject=bad, detail=bad)
    second = scene(1, 2, bad * 20, writes(path, bad * 20), deviates=True)
    scene(1, 3, bad, kind="wait", subject=bad)
    scene(0, kind="end", detail=bad)
    return Report(
        subject=bad,
        verdict=Verdict.FAILED,
        findings=(
            Finding(
                bad,
                bad,
                bad,
                token=bad,
                events=({bad: [bad, float("inf"), b"bytes", {1, 2}]},),
                actors=(ActorInfo(0, bad, "thread"), ActorInfo(1, bad, "thread")),
                steps=tuple(scene.steps),
                conflicts=(Conflict(location(path), first, second),),
                object_path=path,
                cycle=(bad,),
                traceback=bad,
                builds=(bad,),
            ),
        ),
        coverage=Coverage(schedules=1, searches={bad: 1}, uncontrolled=(bad,), stopped_by=bad),
        notes=(bad,),
        python=bad,
    )


def passed_exhaustive() -> Report:
    return Report(
        "app.handler",
        Verdict.PASSED,
        coverage=Coverage(
            schedules=433,
            bound=2,
            bounds={GIL: 2},
            points=41,
            searches={"serial": 2, "bounded": 311, "hypothesis": 120},
            stopped_by="exhausted",
        ),
        notes=("app.SEEN is appended to by both invocations without an order",),
        seconds=1.234,
        seed=7,
        python="3.14.0",
    )


def passed_bounded() -> Report:
    return Report(
        "app.handler",
        Verdict.PASSED,
        coverage=Coverage(
            schedules=120_000,
            bound=1,
            bounds={GIL: 2, FREE: 1},
            points=618,
            searches={"serial": 2, "bounded": 98_000, "pct": 12_000, "hypothesis": 9_998},
            stopped_by="budget",
        ),
        seconds=60.0,
        seed=7,
        python="3.11.9",
    )


def inconclusive() -> Report:
    return Report(
        "app.handler",
        Verdict.INCONCLUSIVE,
        coverage=Coverage(
            schedules=3,
            bound=-1,
            points=12,
            searches={"serial": 2, "bounded": 1},
            stopped_by="uncontrolled",
            uncontrolled=(
                "invocation 1 was 2.0 s inside _psycopg.connect (app.py:14), which the "
                "scheduler does not control",
                "os.fork() was called at app.py:30",
            ),
        ),
        seconds=4.5,
        seed=7,
        python="3.13.1",
    )


def two_findings() -> Report:
    first, second = lost_update().findings[0], free_threaded_warning().findings[0]
    return failed(first, second)


SAMPLES: dict[str, Callable[[], Report]] = {
    "lost_update": lost_update,
    "isolation_leak": isolation_leak,
    "deadlock": deadlock,
    "lost_wakeup": lost_wakeup,
    "asyncio_interleaving": asyncio_interleaving,
    "free_threaded_warning": free_threaded_warning,
    "environment_write": environment_write,
    "long_counterexample": long_counterexample,
    "crowd": crowd,
    "two_findings": two_findings,
    "passed_exhaustive": passed_exhaustive,
    "passed_bounded": passed_bounded,
    "inconclusive": inconclusive,
}
"""What people get to see, each with a snapshot."""
