"""
Get the binary of AWS's runtime interface emulator, once for all runs.

AWS ships it inside the wheel of aws-sam-cli. The wheel is fetched with pip, the binary for this
machine is taken out and kept in a cache; its digest is pinned, so what runs as root is known.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WHEEL_VERSION = "1.170.0"
FETCH_TIMEOUT_S = 300.0

_DIGESTS = {
    "x86_64": "6b1e686e62ab2baf5759c412c4864276ef2a88b094fca53ec070637ccba9b9a5",
    "arm64": "ec2e5d09633d853834c008b1ef264bf834b258a94d551d2b2074966494b39a21",
}
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class RieUnavailable(Exception):
    """The emulator cannot run here; the message says why."""


def cache_dir() -> Path:
    """Return `$LMI_CACHE_DIR`, else a folder in `$XDG_CACHE_HOME`, else `.cache` here."""
    if explicit := os.environ.get("LMI_CACHE_DIR"):
        return Path(explicit)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "lmi_runtime"
    return REPOSITORY / ".cache"


def rie_binary() -> Path:
    """
    Return the emulator for this machine, fetching it the first time.

    Raises:
        RieUnavailable: No binary for this processor, or the wheel cannot be had.

    Thread safety: any number of threads and processes may call this; one of them fetches.
    """
    arch = _ARCHITECTURES.get(platform.machine().lower())
    if arch is None:
        raise RieUnavailable(f"AWS ships no emulator for {platform.machine()}")
    cached = cache_dir() / f"aws-lambda-rie-{WHEEL_VERSION}-{arch}"
    with _exclusive(cached.with_name(".rie.lock")):
        if not _is_intact(cached, arch):
            _fetch(cached, arch)
    return cached


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        raise RieUnavailable(f"the cache cannot be written: {error}") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_intact(binary: Path, arch: str) -> bool:
    if not binary.is_file():
        return False
    return hashlib.sha256(binary.read_bytes()).hexdigest() == _DIGESTS[arch]


def _fetch(target: Path, arch: str) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download_wheel(Path(folder))
        member = f"samcli/local/rapid/aws-lambda-rie-{arch}"
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(member, folder))
        if not _is_intact(extracted, arch):
            raise RieUnavailable(f"{member} of {wheel.name} does not have the pinned digest")
        extracted.chmod(0o755)
        extracted.replace(target)  # atomic: a killed run never leaves half a binary


def _download_wheel(folder: Path) -> Path:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--only-binary=:all:", "--dest", str(folder), f"aws-sam-cli=={WHEEL_VERSION}"),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RieUnavailable(f"aws-sam-cli did not arrive in {error.timeout:.0f} s") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise RieUnavailable(f"aws-sam-cli cannot be fetched: {last[0]}") from error
    return next(folder.glob("*.whl"))
