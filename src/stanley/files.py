"""Atomic files: a reader sees the old file or the new one, never half of one.

What is being written has a name of its own, `.NAME.XXXXXXXX.stanley-part`, and a lock that the
system takes away when the writer dies. The next one who writes into that folder removes what no
living process is writing, so a kill leaves nothing behind for long.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stanley.errors import StanleyError

try:
    import fcntl
except ImportError:  # Windows has no such locks, and there what a kill leaves is not swept
    fcntl = None

PART = ".stanley-part"

#: What a file system answers that has no locks, or cannot sync a folder, as NFS, CIFS and FAT may.
UNSUPPORTED = {
    *(errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EBADF),
    *(errno.ENOTTY, errno.EISDIR, errno.EACCES, errno.EPERM),
}


def write_atomic(path: Path, content: bytes) -> None:
    """Write the whole file, or leave what is there and raise StanleyError.

    A part beside `path` is written, synced and renamed, and then the folder is synced. Its
    permissions are those that the umask leaves.
    """
    part: Path | None = None
    try:
        sweep(path.parent)
        handle, part = new_part(path)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        part = None
        sync_folder(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null byte
        raise StanleyError(
            f"cannot write {path}: {reason(error)}; free some space or choose another "
            "--out (a file that was there before is unchanged)"
        ) from error
    finally:
        if part is not None:
            with contextlib.suppress(OSError):  # the next writer tries again
                part.unlink()


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode("utf-8", "surrogateescape"))


def reason(error: Exception) -> str:
    """What the operating system says, without the path, which the message names already."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def part_name(name: str) -> str:
    """Short enough for every file system, whatever the length of the name."""
    short = os.fsencode(name)[:100].decode("ascii", "ignore")
    return f".{short}.{secrets.token_hex(4)}{PART}"


def new_part(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open and locked."""
    while True:
        part = path.with_name(part_name(path.name))
        handle = os.open(
            part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666
        )
        lock(handle)
        if os.fstat(handle).st_nlink:  # else it was swept before it was locked
            return handle, part
        os.close(handle)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A new folder inside `folder` for what has no place of its own yet; it is gone at the end."""
    sweep(folder)
    part = folder / part_name("")
    part.mkdir()
    handle = os.open(part, os.O_RDONLY) if fcntl is not None else None
    try:
        if handle is not None:
            lock(handle)
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def lock(handle: int, *, wait: bool = True) -> bool:
    """Whether the lock was taken; False where another process holds it.

    Raises OSError where the file system has no locks, but for one who waits: then there is nobody
    to wait for.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        if not wait:
            raise
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of this file. False where there is no such file, and
    where the system has no locks.

    Not true: that asking goes unseen: for some microseconds one who locks without waiting finds it
    taken.
    """
    if fcntl is None:
        return False
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def sweep(folder: Path) -> None:
    """Remove the parts in `folder` that no living process is writing."""
    if fcntl is None:
        return
    try:
        with os.scandir(folder) as entries:
            parts = [Path(entry.path) for entry in entries if entry.name.endswith(PART)]
    except OSError:  # the folder is not there: whoever writes will say so
        return
    for part in parts:
        with contextlib.suppress(OSError):  # gone, not ours, or without locks: left alone
            handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if lock(handle, wait=False):
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
            finally:
                os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power, where the file system can."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn(
            "this file system cannot sync folders: files are whole after a kill, but the newest "
            "may be missing after a loss of power",
            stacklevel=2,
        )


def make_folder(folder: Path) -> None:
    """Make the folder of a command's --out; raises StanleyError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StanleyError(
            f"cannot create {folder}: {error.strerror or error}; choose another --out"
        ) from error
