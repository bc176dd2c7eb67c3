"""Trees of files that are measured and removed, whatever is in them; links are not followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["is_small", "remove_tree", "used_bytes"]

_SMALL_ENTRIES = 16
_SMALL_BYTES = 2**20
_BLOCK_BYTES = 512
_MOST_PASSES = 10_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_small(path: Path) -> bool:
    """Whether removing `path` takes no time worth a thread: a few small files, no folders."""
    size = 0
    with os.scandir(path) as entries:
        for count, entry in enumerate(entries):
            size += entry.stat(follow_symlinks=False).st_size
            if count >= _SMALL_ENTRIES or size > _SMALL_BYTES or _is_folder(entry):
                return False
    return True


def used_bytes(path: Path) -> int:
    """What the files below `path` take of the disk, in bytes; those that vanish are not counted."""
    total = 0
    waiting = [os.fspath(path)]
    while waiting:
        for entry in _entries(waiting.pop()):
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
            except FileNotFoundError:
                continue
            if _is_folder(entry):
                waiting.append(entry.path)
    return total


def remove_tree(path: Path) -> None:
    """
    Remove a directory and what is in it, however deep, also what its owner may not write to.

    Folders are emptied into the uppermost one, level by level, so that depth costs neither
    stack nor open files.

    Raises:
        OSError: Something could not be removed. No error when there is no such directory.
    """
    try:
        top = os.open(path, _FOLDER)
    except FileNotFoundError:
        return
    try:
        os.fchmod(top, 0o700)
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(top: int) -> None:
    moved = 0
    for _ in range(_MOST_PASSES):
        names = [(entry.name, _is_folder(entry)) for entry in _entries(top)]
        if not names:
            return
        for name, is_folder in names:
            if is_folder:
                moved = _dissolve(top, name, moved)
            else:
                _unlink(name, top)
    raise OSError(errno.ENOTEMPTY, "somebody keeps making files in it")


def _dissolve(top: int, name: str, moved: int) -> int:
    """Remove the folder `name` of `top` after moving its folders up; return the moves so far."""
    folder = _open_folder(name, top)
    try:
        for entry in _entries(folder):
            if not _is_folder(entry):
                _unlink(entry.name, folder)
                continue
            # To be moved, a folder must be writable itself.
            os.close(_open_folder(entry.name, folder))
            moved = _move_up(entry.name, folder, top, moved + 1)
    finally:
        os.close(folder)
    try:
        os.rmdir(name, dir_fd=top)
    except OSError as error:
        # Somebody still writes into it: the next pass finds it again.
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise
    return moved


def _move_up(name: str, folder: int, top: int, moved: int) -> int:
    while True:
        try:
            os.rename(name, f".moved-{moved}", src_dir_fd=folder, dst_dir_fd=top)
        except FileExistsError:
            moved += 1
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOTDIR}:
                raise
            moved += 1
        else:
            return moved


def _open_folder(name: str, parent: int) -> int:
    try:
        fd = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, _FOLDER, dir_fd=parent)
    os.fchmod(fd, 0o700)
    return fd


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _entries(folder: int | str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from list(entries)
    except FileNotFoundError:
        return


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
