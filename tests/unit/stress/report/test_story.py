from __future__ import annotations

from lmi_runtime.stress.model import Conflict, Deviation, Finding, Place, Step
from lmi_runtime.stress.report.acts import acts, deviation_words, gap_words, unordered
from lmi_runtime.stress.report.story import READABLE, Gap, Row, tell
from tests.support.stress_reports import (
    Scene,
    deadlock,
    invocations,
    location,
    long_counterexample,
    lost_update,
    lost_wakeup,
    reads,
    updates,
    writes,
)

N = "app.N"


def finding(scene: Scene, **changes: object) -> Finding:
    facts = {"actors": invocations(3), "object_path": N, "steps": tuple(scene.steps), **changes}
    return Finding("serial", "x", **facts)  # type: ignore[arg-type]


def lines(rows: tuple[Row, ...]) -> list[list[int]]:
    return [[step.index for step in row.steps] for row in rows]


def test_steps_on_one_line_are_one_row() -> None:
    scene = Scene()
    scene(0, kind="start")
    scene(0, 1, "N += 1", reads(N))
    scene(0, 1, "N += 1", writes(N))
    scene(0, 1, "N += 1", kind="acquire", subject="lock")
    scene(0, 2, "return N", reads(N))
    scene(0, kind="end")

    assert lines(tell(finding(scene)).rows) == [[0], [1, 2, 3], [4], [5]]


def test_an_interrupted_line_is_two_rows_and_says_so() -> None:
    scene = Scene()
    scene(0, 1, "N += 1", reads(N))
    scene(1, 1, "N += 1", reads(N), deviates=True)
    scene(0, 1, "N += 1", writes(N))

    rows = tell(finding(scene)).rows

    assert [row.goes_on for row in rows] == [False, False, True]
    assert [row.after for row in rows] == [None, 0, 1]


def test_the_next_round_of_a_loop_does_not_go_on() -> None:
    steps = tuple(
        Step(index, 0, "run", Place("a.py", 1, "f", offset))
        for index, offset in enumerate((4, 8, 4, 8))
    )

    rows = tell(Finding("serial", "x", steps=steps)).rows

    assert lines(rows) == [[0, 1], [2, 3]]
    assert [row.goes_on for row in rows] == [False, False]


def test_short_stories_are_told_whole() -> None:
    assert tell(lost_update().findings[0]).shown == tell(lost_update().findings[0]).rows


def test_what_does_not_matter_is_folded_with_a_reason() -> None:
    story = tell(long_counterexample().findings[0])

    gaps = [item for item in story.shown if isinstance(item, Gap)]
    assert [gap_words(story, gap) for gap in gaps] == [
        "14 lines without shared state",
        "8 lines without shared state",
        "14 lines without shared state",
        "60 lines without shared state",
        "80 lines without shared state",
    ]
    assert len(story.shown) < 30


def test_a_gap_names_what_it_does_not_touch() -> None:
    scene = Scene()
    for _ in range(READABLE):
        scene(0, 1, "OTHER.append(1)", updates("app.OTHER"))
        scene(0, 2, "with lock:", kind="acquire", subject="lock")
        scene(0, 3, "lock.release()", kind="release", subject="lock")
    scene(0, 4, "N = 1", writes(N))
    scene(1, 1, "OTHER.append(1)", updates("app.OTHER"))
    scene(1, 4, "N = 1", writes(N))
    story = tell(finding(scene))

    (gap,) = [item for item in story.shown if isinstance(item, Gap)]
    assert gap_words(story, gap) == f"{3 * READABLE} lines that do not touch app.N"


def test_even_the_object_at_fault_is_folded_when_it_is_touched_without_end() -> None:
    scene = Scene()
    for number in range(500):
        scene(0, 1 + number % 2, "N += 1", writes(N))
    first = scene(0, 9, "N = 0", writes(N))
    second = scene(1, 9, "N = 0", writes(N), deviates=True)
    story = tell(finding(scene, conflicts=(Conflict(location(N), first, second),)))

    assert len(story.shown) <= READABLE
    assert {first, second} <= {
        step.index for item in story.shown if isinstance(item, Row) for step in item.steps
    }
    (gap,) = [item for item in story.shown if isinstance(item, Gap)]
    assert gap_words(story, gap) == "500 lines more of the same"


def test_locks_are_held_from_taking_to_releasing_also_twice() -> None:
    scene = Scene()
    for line, kind in enumerate(["acquire", "acquire", "release", "release", "acquire"], 1):
        scene(0, line, "…", kind=kind, subject="lock")  # type: ignore[arg-type]

    held = tell(finding(scene)).held

    assert [(span.first, span.last) for span in held] == [(1, 4), (5, None)]


def test_who_waits_is_told_who_holds() -> None:
    story = tell(deadlock().findings[0])

    said = [act.words for row in story.rows[-2:] for act in acts(story, row)]
    assert said == [
        "waits for ever for accounts['a'].lock (held by invocation 1 since 2)",
        "waits for ever for accounts['b'].lock (held by invocation 2 since 4)",
    ]


def test_waiting_for_ever_has_no_end() -> None:
    (wait,) = tell(lost_wakeup().findings[0]).waits

    assert (wait.subject, wait.last) == ("pool.ready", None)


def test_items_belong_to_the_object_that_is_named() -> None:
    scene = Scene()
    scene(0, 1, "", writes("app.N['k']"), writes("app.N.size"), writes("app.NAMES"))

    story = tell(finding(scene))

    assert {place.path for place in story.focus} == {"app.N['k']", "app.N.size"}


def test_without_a_named_object_the_first_conflict_tells() -> None:
    scene = Scene()
    scene(0, 1, "", writes(N), writes("app.OTHER"))
    scene(1, 1, "", writes(N))
    conflict = Conflict(location(N), 0, 1)

    story = tell(finding(scene, object_path="", conflicts=(conflict,)))

    assert {place.path for place in story.focus} == {N}
    assert (
        unordered(story)
        == "nothing orders 1 (invocation 1 writes app.N) and 2 (invocation 2 writes it)"
    )


def test_deviations_are_named_by_kind() -> None:
    scene = Scene()
    schedule = (
        Deviation("preempt", 0, 0, 1),
        Deviation("forced", 1, 0, 2),
        Deviation("task", 2, 0, 0),
        Deviation("cancel", 0, 0, 1),
        Deviation("forced", 1, 1, -1),
    )
    scene(0, 1)
    for actor in (1, 2, 0, 1, 2):
        scene(actor, 1, deviates=True)

    story = tell(finding(scene, schedule=schedule))
    unmatched = tell(finding(scene, schedule=()))

    assert [deviation_words(story, row) for row in story.rows[1:]] == [
        "invocation 1 is preempted, invocation 2 runs",
        "invocation 2 cannot go on; of the others invocation 3 is chosen",
        "the loop resumes invocation 1 out of turn",
        "invocation 2 is cancelled here",
        "time passes to the next timer",
    ]
    assert unmatched.rows[1].deviation is None


def test_files_of_one_name_are_told_apart() -> None:
    scene = Scene()
    scene(0, 1, file="/srv/a/app.py")
    scene(0, 1, file="/srv/b/app.py")
    scene(0, 1, file="/srv/b/db.py")
    story = tell(finding(scene))

    names = [story.file_name(row.place) for row in story.rows if row.place]
    assert names == ["a/app.py", "b/app.py", "db.py"]


def test_a_line_with_many_accesses_is_cut_but_keeps_the_object_at_fault() -> None:
    scene = Scene()
    others = [updates(f"app.O{number}") for number in range(20)]
    scene(0, 1, "f()", *others, writes(N))
    scene(1, 1, "f()", *others, writes(N))
    story = tell(finding(scene))

    told = acts(story, story.rows[0])

    assert len(told) == 6
    assert [act.words for act in told[-2:]] == ["writes app.N", "and 16 more"]


def test_strangers_get_a_name() -> None:
    scene = Scene()
    scene(7, 1)

    assert tell(finding(scene)).name(7) == "actor 7"
