"""The pytest plugin as its users meet it: a project of their own, and pytest in its own process."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.system

PROGRAMS = """
import asyncio
import pytest

class Counter:
    def __init__(self):
        self.n = 0

def touch(): ...

def careless(counter):
    n = counter.n
    touch()
    counter.n = n + 1

def nearly(counter):
    counter.n += 1  # safe with the GIL

def sound(counter): ...

async def careless_async(counter):
    n = counter.n
    await asyncio.sleep(0)
    counter.n = n + 1

def both_counted(counter):
    assert counter.n == 2

def unharmed(counter):
    assert counter.n == 0
"""
HANDLER = """
LAST = None
CALLS = 0

def racy(event, context):
    global LAST
    LAST = event["user"]
    touch()
    return {"hello": LAST}

def touch(): ...

def sound(event, context):
    return {"hello": event["user"]}
"""
INI = """
[pytest]
addopts = --import-mode=importlib -ra
filterwarnings = error
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
"""
PLUGINS = ["-p", "lmi_runtime.pytest_plugin", "-p", "pytest_asyncio.plugin"]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest in a project with these tests, below ``programs.py``'s contents."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "app.py").write_text(HANDLER)
    (tmp_path / "events.json").write_text('[{"user": "ann"}, {"user": "bob"}]')

    def call(
        tests: str | None, *arguments: str, plugins: list[str] = PLUGINS, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        if tests is not None:
            (tmp_path / "test_it.py").write_text(PROGRAMS + tests)
        return subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "COLUMNS": "160",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return call


def counts(done: subprocess.CompletedProcess[str]) -> str:
    """``1 failed, 2 passed``."""
    found = re.findall(r"^=+ (.*?) in [\d.]+s.* =+$", done.stdout, re.MULTILINE)
    return str(found[-1]) if found else done.stdout + done.stderr


def reproducing(done: subprocess.CompletedProcess[str]) -> list[str]:
    found = re.search(r"^reproduce with: pytest (.*)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return shlex.split(found[1])


RACE = """
@pytest.mark.parametrize("how", [careless, sound])
def test_counter(explore, how):
    explore(Counter, [how, how], both_counted if how is careless else unharmed)
"""


def test_failure_is_the_report_alone_and_can_be_reproduced(run: Run) -> None:
    done = run(RACE)

    assert done.returncode == 1
    assert counts(done) == "1 failed, 1 passed"
    assert "FAILED  test_it.py::test_counter[careless]\n\nfailure (invariant): " in done.stdout
    assert "━━ careless 1 is preempted, careless 2 runs ━" in done.stdout
    assert "FAILED test_it.py::test_counter[careless] - invariant: both_counted" in done.stdout
    assert "lmi_runtime/" not in done.stdout  # no frames of ours
    assert "lmi stress --replay" not in done.stdout  # which knows no tests

    arguments = reproducing(done)
    assert arguments[:2] == ["test_it.py::test_counter[careless]", "--lmi-stress-replay"]
    again = run(None, "-k", "test_counter", *arguments[1:])
    assert counts(again) == "1 failed, 1 skipped"
    assert "SKIPPED [1] test_it.py:" in again.stdout
    assert "--lmi-stress-replay is of test_it.py::test_counter[careless]" in again.stdout
    assert reproducing(again) == arguments


def test_failure_is_kept_as_a_decorator_until_it_is_mended(run: Run) -> None:
    tests = "def test_counter(explore):\n    explore(Counter, [careless] * 2, both_counted)\n"
    decorator = re.search(r"^or decorate it: (.*)$", run(tests).stdout, re.MULTILINE)
    assert decorator is not None

    decorated = f"from lmi_runtime.stress import reproduce_failure\n{decorator[1]}\n{tests}"
    assert "1 schedule" in (again := run(decorated).stdout) or "replay 1" in again
    assert "FAILED test_it.py::test_counter - invariant: both_counted" in again

    mended = run(decorated.replace("[careless] * 2, both_counted", "[sound] * 2, unharmed"))
    assert mended.returncode == 1
    assert "Only the schedule of a token was run. Take the token away to search." in mended.stdout


def test_what_only_free_threaded_builds_can_do_is_a_warning(run: Run) -> None:
    tests = """
def test_counter(explore):
    report = explore(Counter, [nearly, nearly], both_counted)
    assert report.findings[0].warning

def test_strictly(explore):
    explore(Counter, [nearly, nearly], both_counted, fail_on_warning=True)
"""
    done = run(tests, "-W", "default")
    assert counts(done) == "1 failed, 1 passed, 1 warning"
    assert re.search(r"test_it.py:\d+: StressWarning: PASSED with 1 warning", done.stdout)

    done = run(tests)
    assert counts(done) == "2 failed"
    assert "lmi_runtime/" not in done.stdout


def test_nothing_proven_is_a_failure_unless_that_is_allowed(run: Run) -> None:
    done = run("""
def test_counter(explore):
    explore(Counter, [sound, sound], schedules=1)

def test_allowed(explore):
    explore(Counter, [sound, sound], schedules=1, allow_inconclusive=True)
""")

    assert counts(done) == "1 failed, 1 skipped"
    assert "FAILED test_it.py::test_counter - inconclusive: no bound was exhausted" in done.stdout
    assert re.search(r"^SKIPPED \[1\] test_it.py:\d+: inconclusive: ", done.stdout, re.MULTILINE)


def test_async_tests_can_explore(run: Run) -> None:
    done = run("""
@pytest.mark.asyncio
async def test_counter(explore):
    before = asyncio.get_running_loop().time()
    with pytest.raises(AssertionError, match="both_counted does not hold"):
        explore(Counter, [careless_async, careless_async], both_counted)
    explore(Counter, [sound, sound], unharmed)
    await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() >= before
""")

    assert counts(done) == "1 passed"


def test_seed_is_taken_and_pages_are_written(run: Run, tmp_path: Path) -> None:
    done = run(RACE, "--lmi-stress-seed=7", "--lmi-stress-html=pages")

    assert "seed 7;" in done.stdout
    (page,) = (tmp_path / "pages").iterdir()
    assert f"page: {page}\n" in done.stdout
    assert page.read_text().startswith("<!doctype html>")


def test_budget_of_the_command_line_overrules_that_of_a_test(run: Run) -> None:
    tests = "def test_counter(explore):\n    explore(Counter, [sound] * 2, budget_s=1e-9)\n"

    assert counts(run(tests)) == "1 failed"
    assert counts(run(tests, "--lmi-stress-budget=1m")) == "1 passed"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--lmi-stress-replay=nonsense", "--lmi-stress-replay: this is no token"),
        ("--lmi-stress-budget=soon", "'soon' is not a time such as 60s, 2m or 1m30s"),
        ("--lmi-stress-seed=x", "invalid int value: 'x'"),
    ],
)
def test_wrong_options_are_told_before_any_test_runs(run: Run, option: str, said: str) -> None:
    done = run(RACE, option)

    assert done.returncode == 4
    assert said in done.stderr


def test_handlers_are_declared(run: Run) -> None:
    done = run("""
from lmi_runtime.stress import stress_test

@stress_test("app.racy")
def test_racy(): ...

@stress_test("app.sound")
def test_sound(module, tmp_path):
    assert module.CALLS == 0
    assert tmp_path.is_dir()

@stress_test("app.sound")
def test_invariant(module):
    assert module.CALLS == 1, "nobody called"

class TestGroup:
    @pytest.mark.parametrize("number", [1])
    @stress_test("app.sound", events=[{"user": "eve"}])
    def test_method(self, module, number):
        assert type(self) is TestGroup
        assert number == 1

@stress_test("app.gone")
def test_gone(): ...

@stress_test("app.sound", "nowhere.json")
def test_no_events(): ...
""")

    assert counts(done) == "4 failed, 2 passed"
    assert "FAILED test_it.py::test_racy - isolation: the result['hello'] of" in done.stdout
    assert "invariant: test_invariant does not hold: nobody called" in done.stdout
    assert "app.gone cannot be stressed: Handler 'gone' missing on module 'app'." in done.stdout
    assert re.search(r"app.sound cannot be stressed: .*nowhere.json: cannot be read", done.stdout)
    assert "lmi_runtime/" not in done.stdout
    assert "During handling" not in done.stdout

    arguments = reproducing(done)
    assert arguments[0] == "test_it.py::test_racy"
    assert counts(run(None, *arguments)) == "1 failed"


def test_missing_extra_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "hypothesis.py").write_text("raise ImportError(name='hypothesis')")

    done = run(RACE, "-k", "sound", PYTHONPATH=f"{tmp_path / 'missing'}:{REPOSITORY}")

    assert counts(done) == "1 failed, 1 deselected"
    assert "stress tests need hypothesis: pip install 'lmi_runtime[stress]'\n" in done.stdout


def test_without_the_plugin_a_declared_test_fails(run: Run) -> None:
    done = run(
        "from lmi_runtime.stress import stress_test\n"
        "@stress_test('app.sound')\n"
        "def test_it(): ...\n",
        plugins=PLUGINS[2:],
    )

    assert counts(done) == "1 failed"
    assert "plugin is not loaded: add -p lmi_runtime.pytest_plugin" in done.stdout


def test_workers_of_xdist_share_what_is_kept(run: Run, tmp_path: Path) -> None:
    if importlib.util.find_spec("xdist") is None:
        pytest.skip("not run: pytest-xdist is not installed")
    done = run(RACE, "-n2", "--lmi-stress-html=pages", plugins=[*PLUGINS, "-p", "xdist.plugin"])

    assert counts(done) == "1 failed, 1 passed"
    assert "━━ careless 1 is preempted, careless 2 runs ━" in done.stdout
    assert "FAILED test_it.py::test_counter[careless] - invariant: both_counted" in done.stdout
    assert len(list((tmp_path / "pages").iterdir())) == 1
