"""Which store a cache has, and one vault for all caches of one name."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Literal

from lmi_runtime import _sync
from lmi_runtime._lazy import ahead
from lmi_runtime.caches.shared.places import WRITER_LOCK, Place, check_name, find_place
from lmi_runtime.caches.shared.store import Backend
from lmi_runtime.caches.shared.vault import Vault
from lmi_runtime.context import worker
from lmi_runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StoreName", "vault_of"]

StoreName = Literal["sqlite", "lmdb"]

_LEAST_BYTES = 1 << 20
_LEAST_READERS = 512

_lock = _sync.RLock()  # re-entrant: a signal handler may make a cache, too
_vaults: weakref.WeakValueDictionary[tuple[str, str, StoreName], Vault] = (
    weakref.WeakValueDictionary()
)  # guarded by _lock


def vault_of(
    name: str,
    store: Literal["auto"] | StoreName,
    directory: str | os.PathLike[str] | None,
    max_bytes: int,
) -> tuple[Vault, StoreName]:
    """
    The vault of a cache, and the name of its store. LMDB must not be opened twice in a process.

    Raises:
        ConfigurationError: The name does not do.
        ConfigurationError: There is no such store, or it is too small.
        ImportError: ``lmdb`` is asked for and not installed.
    """
    ahead("hashlib", "mmap", "pathlib")
    check_name(name)
    if max_bytes < _LEAST_BYTES:
        raise ConfigurationError(f"max_bytes must be at least {_LEAST_BYTES}, not {max_bytes}")
    kind = _kind(store)
    path = None if directory is None else os.path.abspath(directory)
    with _lock:
        vault = _vaults.get((name, str(path), kind))
        if vault is None:
            vault = _vaults[name, str(path), kind] = Vault(
                name,
                lambda: Place(find_place(name, path, kind)),
                lambda where, place: _open_store(kind, where, place, max_bytes),
            )
    return vault, kind


def _kind(store: str) -> StoreName:
    import importlib.util

    match store:
        case "auto":
            return "lmdb" if importlib.util.find_spec("lmdb") is not None else "sqlite"
        case "lmdb":
            if importlib.util.find_spec("lmdb") is None:
                raise ImportError("store='lmdb' needs `lmi_runtime[lmdb]`.", name="lmdb")
            return "lmdb"
        case "sqlite":
            return "sqlite"
    raise ConfigurationError(f"store must be 'auto', 'sqlite' or 'lmdb', not {store!r}")


def _open_store(kind: StoreName, where: Path, place: Place, max_bytes: int) -> Backend:
    # Imported here: neither is needed to start, and both take their time.
    if kind == "lmdb":
        from lmi_runtime.caches.shared.lmdb import LmdbBackend

        facts = worker()
        readers = max(_LEAST_READERS, 4 * facts.processes * facts.slots)
        return LmdbBackend(where, max_bytes=max_bytes, max_readers=readers)
    from lmi_runtime.caches.shared.sqlite import SqliteBackend

    return SqliteBackend(where, max_bytes=max_bytes, locks=place.locks, writer_lock=WRITER_LOCK)


def _forget() -> None:
    global _lock
    _lock = _sync.RLock()


os.register_at_fork(after_in_child=_forget)
