"""The report's page in a real browser: what a reader sees, with keyboard, phone and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lmi_runtime.stress import report as reports
from lmi_runtime.stress.model import Report
from tests.support.browser import Browser, chromium, open_browser
from tests.support.stress_reports import (
    HOSTILE_TEXT,
    deadlock,
    hostile,
    long_counterexample,
    lost_update,
)

PROGRAM = chromium()
pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="not run: chromium is not installed"),
]

WIDE, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with open_browser(PROGRAM, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[object]:
    def open_report(report: Report, size: tuple[int, int] = WIDE, scheme: str = "light") -> Browser:
        browser._session = None  # a new tab
        browser.complaints.clear()
        path = tmp_path / "report.html"
        reports.write(report, path)
        browser.open(path.as_uri(), width=size[0], height=size[1], scheme=scheme)
        return browser

    yield open_report
    assert browser.complaints == []


def seen(browser: Browser, selector: str) -> bool:
    """It has a size and lies within the width of the page."""
    return bool(
        browser.run(
            f"""(() => {{
                const found = document.querySelector({selector!r});
                if (!found) return false;
                const box = found.getBoundingClientRect();
                return box.width > 0 && box.height > 0
                    && box.left >= 0 && box.left < document.documentElement.clientWidth;
            }})()"""
        )
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_preemption_and_object_are_on_the_page(show, size, scheme) -> None:  # type: ignore[no-untyped-def]
    page = show(lost_update(), size, scheme)

    assert page.run("document.querySelector('.object code').innerText") == "app.STOCK['sku-1']"
    assert seen(page, ".object code")
    assert seen(page, "svg g.break path")
    assert page.run("document.querySelector('svg g.break text').textContent") == "preempted"
    assert seen(page, ".steps .break")
    assert "--replay 2gAxQ" in page.run("document.body.innerText")
    assert page.screenshot().startswith(b"\x89PNG")


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_only_the_picture_scrolls_sideways(show, size) -> None:  # type: ignore[no-untyped-def]
    page = show(long_counterexample(), size)

    width = page.run("document.documentElement.scrollWidth")
    assert width <= size[0]


def test_dark_is_dark(show) -> None:  # type: ignore[no-untyped-def]
    colour = "getComputedStyle(document.body).backgroundColor"

    assert show(lost_update(), scheme="light").run(colour) == "rgb(255, 255, 255)"
    assert show(lost_update(), scheme="dark").run(colour) == "rgb(20, 23, 27)"


def test_keys_walk_along_the_timeline(show) -> None:  # type: ignore[no-untyped-def]
    page = show(lost_update())
    lit = "document.querySelector('.step.on')?.id"

    page.run("document.querySelector('a.event').focus()")
    first = page.run(lit)
    page.press("ArrowDown")
    second = page.run(lit)
    page.press("ArrowUp")

    assert (first, second, page.run(lit)) == ("f0-r1", "f0-r2", "f0-r1")


def test_pointing_at_a_step_lights_the_picture(show) -> None:  # type: ignore[no-untyped-def]
    page = show(deadlock())

    page.run("document.getElementById('f0-r5').dispatchEvent(new MouseEvent('mouseenter'))")

    assert page.run("document.querySelector('a.event.on').getAttribute('href')") == "#f0-r5"


def test_a_click_unfolds_a_gap(show) -> None:  # type: ignore[no-untyped-def]
    page = show(long_counterexample())
    is_open = "document.querySelector('.gap details').open"

    before = page.run(is_open)
    page.run("document.querySelector('a.folded').dispatchEvent(new MouseEvent('click'))")

    assert (before, page.run(is_open)) == (False, True)


def test_what_users_wrote_stays_text(show) -> None:  # type: ignore[no-untyped-def]
    page = show(hostile())

    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.scripts.length") == 1
    assert HOSTILE_TEXT[:20] in page.run("document.body.innerText")
