"""Loggers that are there before anything is made safe, and versions that are not what we know."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.system


def run(code: str) -> str:
    """What `code` prints in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_loggers_that_were_made_before_are_isolated_too() -> None:
    said = run("""
        from aws_lambda_powertools import Logger
        from tests.support.crowd import ThreadCrowd
        from tests.support.powertools_logger import Lines, make_logger, plain_keys

        lines = Lines()
        logger = make_logger(lines, given="made")
        logger.append_keys(imported=1)
        logger.thread_safe_append_keys(local=1)

        from lmi_runtime.integrations import make_safe

        assert "Logger" in make_safe().patched
        crowd = ThreadCrowd()

        def handle(number):
            logger.append_keys(user=number)
            logger.registered_formatter.update_formatter(old=number)
            logger.thread_safe_append_keys(user_local=number)
            crowd.meet()
            logger.info("line")
            return plain_keys(logger), logger.thread_safe_get_current_keys()

        base = {"given": "made", "imported": 1}
        assert crowd.serve(handle) == [
            ({**base, "user": number, "old": number}, {"local": 1, "user_local": number})
            for number in range(50)
        ]
        assert plain_keys(logger) == base
        assert all(line["user"] == line["user_local"] for line in lines)
        print("done")
    """)

    assert said.startswith("done\n")


def test_a_formatter_that_is_not_what_it_was_is_left_alone_and_named() -> None:
    said = run("""
        from aws_lambda_powertools.logging import formatter

        def append_keys(self, keys): ...

        formatter.LambdaPowertoolsFormatter.append_keys = append_keys
        before = dict(vars(formatter.LambdaPowertoolsFormatter))

        from lmi_runtime.integrations import make_safe

        safety = make_safe()
        assert "append_keys takes (self, keys)" in safety.not_patched["Logger"], safety
        assert "Logger sampling" in safety.patched
        assert dict(vars(formatter.LambdaPowertoolsFormatter)) == before
    """)

    assert "Logger is not isolated between requests" in said


def test_nothing_of_powertools_is_imported_for_it() -> None:
    said = run("""
        import sys

        from lmi_runtime.integrations import make_safe

        make_safe()
        print(any(name.startswith("aws_lambda_powertools") for name in sys.modules))
        print(any(".powertools.logger" in name for name in sys.modules))
    """)

    assert said == "False\nFalse\n"
