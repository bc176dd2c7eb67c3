"""What `lmi stress` makes of its arguments, with a search that answers as it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.bootstrap import stressing
from lmi_runtime.bootstrap.stressing import StressOptions
from lmi_runtime.cli import main
from lmi_runtime.cli.stress import ORACLES, SOURCES
from lmi_runtime.stress.events import SOURCES as MAKERS
from lmi_runtime.stress.model import Coverage, Granularity, Report, Verdict
from lmi_runtime.stress.search import Progress, Replay, encode
from lmi_runtime.stress.subject import ORACLES as JUDGED

PASSED = Report("app.handler", Verdict.PASSED, coverage=Coverage(schedules=3, bound=2))


class Search:
    """Stands in for `stress_handler`, and remembers how it was called."""

    def __init__(self) -> None:
        self.answer: Report | BaseException = PASSED
        self.calls: list[dict[str, Any]] = []

    def __call__(self, reference: str, events: Any, options: StressOptions, **rest: Any) -> Report:
        self.calls.append({"reference": reference, "events": events, "options": options, **rest})
        rest["progress"](Progress(1234, 2000, "bounded", 1.5))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    @property
    def call(self) -> dict[str, Any]:
        (call,) = self.calls
        return call


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Search:
    found = Search()
    monkeypatch.setattr(stressing, "stress_handler", found)
    monkeypatch.chdir(tmp_path)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run, expect exit code 2, and return the last line of what was said."""
    try:
        code: Any = main(["stress", *arguments])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_names_are_those_of_the_harness() -> None:
    assert tuple(sorted(MAKERS)) == SOURCES
    assert tuple(sorted(JUDGED)) == ORACLES


def test_what_is_left_out_is_what_the_library_does(search: Search, tmp_path: Path) -> None:
    assert main(["stress", "app.handler"]) == 0

    assert search.call["reference"] == "app.handler"
    assert search.call["events"] == [{}]
    assert search.call["options"] == StressOptions(examples=Path(".lmi-stress"))
    assert search.call["task_root"] == tmp_path
    assert search.call["replay"] is None


def test_every_option_arrives(search: Search, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    options = "--concurrency 3 --mode threads --budget 2m --schedules 50 --preemptions 0"
    more = "--granularity line --include shop --include json --seed 7 --ignore leak --no-cancel"

    assert main(["stress", "app.handler", *options.split(), *more.split(), "--no-examples"]) == 0

    assert search.call["options"] == StressOptions(
        concurrency=3,
        mode="threads",
        budget_s=120.0,
        schedules=50,
        preemptions=0,
        granularity="line",
        include=("shop", "json"),
        seed=7,
        cancel=False,
        ignore=frozenset({"leak"}),
        examples=None,
    )


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Verdict.PASSED, 0), (Verdict.FAILED, 1), (Verdict.INCONCLUSIVE, 3)],
)
def test_each_verdict_has_a_status(search: Search, verdict: Verdict, status: int) -> None:
    search.answer = Report("app.handler", verdict)

    assert main(["stress", "app.handler"]) == status


def test_interrupted_says_how_far_it_came(
    search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    search.answer = KeyboardInterrupt()

    assert main(["stress", "app.handler"]) == 130
    assert capsys.readouterr().err.endswith(
        "lmi stress: interrupted after 1,234 schedules in 1.5 s; "
        "a search that was cut proves nothing\n"
    )


def test_progress_is_not_for_files(search: Search, capsys: pytest.CaptureFixture[str]) -> None:
    main(["stress", "app.handler"])

    assert "1,234" not in capsys.readouterr().err


def test_events_of_all_files_take_turns(search: Search, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"n": 1}, {"n": 2}]')
    (tmp_path / "b.json").write_text('{"n": 3}')

    assert main(["stress", "app.handler", "--events", "a.json", "--events", "b.json"]) == 0

    assert search.call["events"] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_events_are_found_beside_the_handler(
    search: Search, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "src" / "events").mkdir(parents=True)
    (tmp_path / "src" / "app.py").touch()
    for number in range(5):
        (tmp_path / "src" / "events" / f"{number}.json").write_text(json.dumps({"n": number}))

    assert main(["stress", "src/app.handler"]) == 0

    assert search.call["events"] == [{"n": number} for number in range(5)]
    assert capsys.readouterr().err == (
        "lmi stress: events from src/events/0.json, src/events/1.json, src/events/2.json "
        "and 2 more\n"
    )


def test_a_token_brings_its_handler_and_its_events(search: Search) -> None:
    token = encode(Replay("app.handler#2", Granularity.GIL, events=({"n": 1},)))

    assert main(["stress", "--replay", token]) == 0

    assert search.call["reference"] == "app.handler"
    assert search.call["events"] == [{"n": 1}]
    assert search.call["replay"] == token


def test_a_token_may_be_tried_on_another_handler(
    search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    token = encode(Replay("app.handler#2", Granularity.GIL, events=({},)))

    assert main(["stress", "app.other", "--replay", token]) == 0

    assert search.call["reference"] == "app.other"
    assert "the token is of app.handler, and is tried on app.other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("test_a.py::test_b", "use `pytest 'test_a.py::test_b' --lmi-stress-replay TOKEN`"),
        ("setup", "use `explore(..., replay=TOKEN)`"),
    ],
)
def test_a_token_of_no_handler_is_sent_to_where_it_came_from(
    search: Search, capsys: pytest.CaptureFixture[str], subject: str, said: str
) -> None:
    token = encode(Replay(subject, Granularity.GIL))

    assert refused(capsys, "--replay", token).endswith(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "lmi: name a handler, such as `lmi stress app.handler`"),
        ("a.b --budget soon", "argument --budget: 'soon' is not a time such as 60s, 2m or 1m30s"),
        ("a.b --preemptions -1", "argument --preemptions: '-1' is not a whole number of at least"),
        ("a.b --concurrency 0", "argument --concurrency: '0' is not a whole number of at least 1"),
        ("a.b --source ftp", "argument --source: invalid choice: 'ftp'"),
        ("a.b --ignore me", "argument --ignore: invalid choice: 'me'"),
        ("a.b --source sqs --events e.json", "argument --events: not allowed with argument"),
        ("a.b --events none.json", "lmi: none.json: cannot be read: No such file"),
        ("a.b --schema list.json", "lmi: --schema list.json: expected one JSON schema, an object"),
        ("a.b --replay nonsense", "lmi: --replay: this is no token; tokens begin with lmi1."),
        ("a.b --include nothing_there", "lmi: --include nothing_there: there is no module"),
        ("a.b --include ..", "lmi: --include '..' is not the name of a package"),
        ("a.b --html none/r.html", "lmi: --html none/r.html: there is no directory none"),
        ("a.b --json .", "lmi: --json .: is a directory"),
        ("a.b --examples list.json", "lmi: --examples list.json: is a file, not a directory"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_search(
    search: Search,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: str,
    said: str,
) -> None:
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "e.json").write_text("{}")

    assert said in refused(capsys, *arguments.split())
    assert search.calls == []


def test_examples_hide_themselves_from_git_and_stay_as_a_user_left_them(
    search: Search, tmp_path: Path
) -> None:
    main(["stress", "app.handler"])
    assert not (tmp_path / ".lmi-stress").exists()  # nothing was kept

    (tmp_path / ".lmi-stress").mkdir()
    main(["stress", "app.handler"])
    assert (tmp_path / ".lmi-stress" / ".gitignore").read_text() == "*\n"

    (tmp_path / ".lmi-stress" / ".gitignore").write_text("")
    main(["stress", "app.handler"])
    assert (tmp_path / ".lmi-stress" / ".gitignore").read_text() == ""
