"""Where the key of the hashes of environment variables comes from: `VLLMPERF_KEY`, or a private file of the user's."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.variables import VariablesKey

VARIABLE = "VLLMPERF_KEY"
LEAST_CHARACTERS = 16
_BYTES = 32
# The key's id lies beside the hashes: whoever guesses at a passphrase pays this for each guess.
_ROUNDS = 200_000
_SALT = b"pytest-vllmperf: hashes of environment variables"


def check_key(env: Mapping[str, str]) -> None:
    """See that the key can be used, if there is one yet.

    Raises:
        SpecError: for a variable that is too short, or a file that others may have read or written.
    """
    if VARIABLE in env:
        _check_length(env[VARIABLE])
    elif (path := _path(env)) is not None:
        _read(path)


def find_key(env: Mapping[str, str]) -> VariablesKey | None:
    """The key: of the variable, else of the user's file, which is made if need be; None where none can be kept.

    Args:
        env: of this process.

    Raises:
        SpecError: for a variable that is too short, or a file that others may have read or written.
    """
    if VARIABLE in env:
        _check_length(env[VARIABLE])
        text = env[VARIABLE].encode("utf-8", "surrogateescape")
        return VariablesKey(hashlib.pbkdf2_hmac("sha256", text, _SALT, _ROUNDS))
    path = _path(env)
    if path is None:
        return None
    if (found := _read(path)) is None:
        with suppress(OSError):  # a home that cannot be written has no key
            _make(path)
        found = _read(path)
    return None if found is None else VariablesKey(found)


def _check_length(secret: str) -> None:
    if len(secret) < LEAST_CHARACTERS:
        raise SpecError(f"{VARIABLE} has {len(secret)} characters; set one of at least {LEAST_CHARACTERS}")


def _path(env: Mapping[str, str]) -> Path | None:
    """Where the user's key lies; None for a user without a home."""
    folder = env.get("XDG_CONFIG_HOME") or ""
    if not folder.startswith("/"):  # a relative one is not valid
        try:
            folder = str(Path.home() / ".config")
        except RuntimeError:
            return None
    return Path(folder, "pytest-vllmperf", "key") if folder.startswith("/") else None


def _read(path: Path) -> bytes | None:
    """The key in a file; None where there is no file, or it cannot be looked at.

    Raises:
        SpecError: for something that is no private file of this user.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        linked = error.errno == errno.ELOOP
        raise _unsafe(path, "it is a symbolic link" if linked else error.strerror or str(error)) from None
    try:
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, _BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) != _BYTES:
        raise _unsafe(path, f"it does not hold {_BYTES} bytes")
    return content


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _unsafe(path, "it is not a file")
    if found.st_uid != os.geteuid():
        raise _unsafe(path, "it belongs to another user")
    if found.st_mode & 0o077:
        raise _unsafe(path, "other users can read or write it")


def _unsafe(path: Path, why: str) -> SpecError:
    return SpecError(f"{path} cannot be used as the key for environment variables: {why}; remove it, or set {VARIABLE}")


def _make(path: Path) -> None:
    """Write a new key beside, whole, and give it its name; where another process was first, its key stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".key-{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask took
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
