"""Trees are removed whatever is in them, and nothing beside them is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmi_runtime import _sync
from lmi_runtime.caches import trees
from lmi_runtime.caches.trees import is_small, remove_tree, used_bytes

Tree = dict[str, "Tree | None"]
NAMES = st.sampled_from(["a", "b", ".hidden", ".moved-1", ".moved-2", "ü"])
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(NAMES, st.none() | inner, max_size=4),
    max_leaves=20,
)


def plant(tree: Tree, path: Path) -> None:
    path.mkdir()
    for name, inner in tree.items():
        if inner is None:
            (path / name).write_text("x")
        else:
            plant(inner, path / name)


@settings(max_examples=40)
@given(TREES)
def test_any_tree_is_removed(tree: Tree) -> None:
    path = _sync.private_directory("lmi-test") / f"tree-{os.getpid()}"
    plant(tree, path)

    remove_tree(path)

    assert not path.exists()


def test_what_is_deeper_than_the_stack_and_the_open_files_go_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(1200):  # a path of that length could not be written out
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)

    remove_tree(top)

    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    plant({"file": None}, precious)
    top = tmp_path / "top"
    plant({"inner": {}}, top)
    for link in (top / "link", top / "inner" / "link"):
        link.symlink_to(precious)
    (top / "broken").symlink_to("nowhere")

    assert is_small(top) is False
    remove_tree(top)

    assert not top.exists()
    assert (precious / "file").read_text() == "x"


def test_a_link_in_place_of_the_tree_is_refused(tmp_path: Path) -> None:
    plant({"file": None}, tmp_path / "precious")
    (tmp_path / "top").symlink_to(tmp_path / "precious")

    with pytest.raises(OSError, match=r"Not a directory|symbolic link"):
        remove_tree(tmp_path / "top")
    assert (tmp_path / "precious" / "file").exists()


def test_folders_that_their_owner_made_unwritable_are_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    plant({"closed": {"inner": {"file": None}, "file": None}}, top)
    (top / "closed" / "inner").chmod(0o000)
    (top / "closed").chmod(0o500)
    top.chmod(0o500)

    remove_tree(top)

    assert not top.exists()


def test_a_folder_that_may_not_be_opened_is_opened_up_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for everybody but root."""
    top, real = tmp_path / "top", os.open
    plant({"closed": {"file": None}}, top)
    (top / "closed").chmod(0o000)

    def strict(path: str | Path, flags: int, dir_fd: int | None = None) -> int:
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if not facts.st_mode & 0o400:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", strict)
    remove_tree(top)

    assert not top.exists()


def test_a_tree_that_is_not_there_is_as_good_as_removed(tmp_path: Path) -> None:
    remove_tree(tmp_path / "missing")


def test_files_that_somebody_adds_meanwhile_are_removed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, real, added = tmp_path / "top", os.rmdir, []
    plant({"busy": {"inner": {}}}, top)

    def rmdir(path: str, *, dir_fd: int | None = None) -> None:
        if path == "busy" and not added:
            added.append((top / "busy" / "late").write_text("x"))
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    remove_tree(top)

    assert added and not top.exists()


def test_who_never_stops_adding_files_is_given_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, real = tmp_path / "top", os.unlink
    plant({"file": None}, top)

    def unlink(path: str, *, dir_fd: int | None = None) -> None:
        real(path, dir_fd=dir_fd)
        (top / "file").touch()

    monkeypatch.setattr(trees, "_MOST_PASSES", 20)
    monkeypatch.setattr(os, "unlink", unlink)

    with pytest.raises(OSError, match="somebody keeps making files in it"):
        remove_tree(top)


def test_a_folder_that_cannot_be_removed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant({"a": {}}, tmp_path / "top")

    def rmdir(path: str, *, dir_fd: int | None = None) -> None:
        raise OSError(errno.EBUSY, "a file system is mounted there")

    monkeypatch.setattr(os, "rmdir", rmdir)

    with pytest.raises(OSError, match="mounted there"):
        remove_tree(tmp_path / "top")


def test_the_disk_that_files_take_is_added_up_without_following_links(tmp_path: Path) -> None:
    top = tmp_path / "top"
    plant({"inner": {"inner": {}}}, top)
    (tmp_path / "large").write_bytes(b"x" * 2**20)
    (top / "link").symlink_to(tmp_path / "large")
    empty = used_bytes(top)

    (top / "inner" / "inner" / "file").write_bytes(b"x" * 100_000)

    assert empty < 2**16
    assert 100_000 <= used_bytes(top) - empty < 120_000
    assert used_bytes(tmp_path / "missing") == 0


def test_files_that_vanish_while_they_are_added_up_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant({"a": None, "b": None}, tmp_path / "top")
    entries = list(os.scandir(tmp_path / "top"))
    (tmp_path / "top" / "a").unlink()
    monkeypatch.setattr(trees, "_entries", lambda path: entries)

    assert used_bytes(tmp_path / "top") == (tmp_path / "top" / "b").stat().st_blocks * 512


@pytest.mark.parametrize(
    ("files", "size", "small"),
    [(0, 0, True), (16, 10, True), (17, 10, False), (1, 2**20, True), (1, 2**20 + 1, False)],
)
def test_a_few_small_files_are_removed_on_the_spot(
    tmp_path: Path, files: int, size: int, small: bool
) -> None:
    for number in range(files):
        with (tmp_path / str(number)).open("wb") as file:
            file.truncate(size)

    assert is_small(tmp_path) is small
