"""Which folders the emulator's namespace covers and which it binds back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.rie_sandbox import Sandbox, decide_sandbox, private_folders, render_mounts

HOME = Path("/root")
VENV = HOME / "project" / ".venv"
PYTHON = HOME / ".pyenv" / "3.11"


def test_nothing_is_mounted_when_everybody_can_reach_every_tree() -> None:
    assert decide_sandbox([VENV, PYTHON], private=frozenset()) == Sandbox((), ())


def test_a_closed_home_is_covered_once_and_each_tree_in_it_comes_back() -> None:
    planned = decide_sandbox([VENV, PYTHON, Path("/opt/python")], private=frozenset([HOME]))

    assert planned == Sandbox(covers=(HOME,), binds=(PYTHON, VENV))


def test_only_the_outermost_closed_folder_is_covered() -> None:
    """The inner one is made anew under the cover, open."""
    planned = decide_sandbox([VENV], private=frozenset([HOME, HOME / "project"]))

    assert planned.covers == (HOME,)


def test_a_tree_inside_another_is_not_bound_twice() -> None:
    planned = decide_sandbox([VENV.parent, VENV], private=frozenset([HOME]))

    assert planned.binds == (VENV.parent,)


def test_a_tree_that_is_closed_itself_is_left_alone() -> None:
    """Binding a tree does not open it, so only the folders above it count."""
    assert decide_sandbox([HOME], private=frozenset([HOME])) == Sandbox((), ())


def test_closed_folders_are_found_on_the_way_to_a_tree(tmp_path: Path) -> None:
    tree = tmp_path / "closed" / "tree"
    tree.mkdir(parents=True)
    tree.parent.chmod(0o700)
    tmp_path.chmod(0o755)

    found = private_folders([tree])

    assert tree.parent in found
    assert tmp_path not in found


def test_trees_are_held_before_anything_is_covered(tmp_path: Path) -> None:
    """Names with spaces and quotes stay one word each."""
    odd = Path("/root/it's here/tree")
    script = render_mounts(Sandbox((HOME,), (odd,)), staging=tmp_path)
    # The shell itself says how it splits the words; nothing is mounted.
    stub = f'mount() {{ echo "$#:$*"; }}; mkdir() {{ :; }}\n{script}'
    told = subprocess.run(["sh", "-euc", stub], check=True, capture_output=True, text=True)

    hold = tmp_path / "bind-0"
    assert told.stdout.splitlines() == [
        f"3:--bind {odd} {hold}",
        f"6:-t tmpfs -o mode=755 tmpfs {HOME}",
        f"3:--bind {hold} {odd}",
    ]
