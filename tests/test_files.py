"""Files are whole or not there, whatever the file system lacks, and a kill leaves nothing for
long.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from stanley import files
from stanley.errors import StanleyError
from stanley.files import PART, scratch, sweep, write_atomic, write_json


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_are_those_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    """What open() would give: private where the user wants it private, shared with a group where
    shared.
    """
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "ours", b"x")
        (tmp_path / "theirs").write_bytes(b"x")
    finally:
        os.umask(before)
    assert len(set(modes(tmp_path).values())) == 1


def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch
) -> None:
    """After a loss of power there is the old file or the new one: fsync, rename, fsync of the
    folder, in this order.
    """
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append(
            "folder"
            if stat.S_ISDIR(os.fstat(handle).st_mode)
            else f"file of {os.fstat(handle).st_size}"
        )
        fsync(handle)

    def renamed(*names: object) -> None:
        done.append("rename")
        replace(*names)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    write_atomic(tmp_path / "a", b"12345")
    assert done == ["file of 5", "rename", "folder"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch, broken: str) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(
        StanleyError, match=r"cannot write .*a: No space left on device; free some space"
    ):
        write_atomic(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_numbers_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"kl": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "日" * 85, "a b'\"\n\x1b"])
def test_names_of_any_length(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", "no/such/folder"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(StanleyError, match="cannot write"):
        write_atomic(tmp_path / name, b"x")
    assert not list(tmp_path.iterdir())


KILLED = """
import os, sys
from pathlib import Path
from stanley import files
folder = Path(sys.argv[1])
os.replace = os.rename = lambda *a, **k: os.kill(os.getpid(), 9)
if sys.argv[2] == "file":
    files.write_atomic(folder / "a", b"x")
with files.scratch(folder) as part:
    (part / "inside").write_bytes(b"x")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path, what: str) -> None:
    (tmp_path / f"mine{PART}.txt").write_bytes(b"x")
    (tmp_path / ".mine.tmp").write_bytes(b"x")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), what], check=False)
    assert [path for path in tmp_path.iterdir() if path.name.endswith(PART)]
    write_atomic(tmp_path / "b", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"b", f"mine{PART}.txt", ".mine.tmp"}


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    handle, part = files.new_part(tmp_path / "a")
    with scratch(tmp_path) as folder:
        sweep(tmp_path)
        assert part.exists()
        assert folder.is_dir()
        os.close(handle)
        sweep(tmp_path)
        assert not part.exists()
        assert folder.is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.EPERM])
def test_a_file_system_without_locks_or_synced_folders(
    tmp_path: Path, monkeypatch, code: int
) -> None:
    """NFS, CIFS, FAT: one warning that says what is not promised there, and the files are
    written.
    """
    fsync = os.fsync

    def unsupported(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    monkeypatch.setattr(
        os, "fsync", lambda h: unsupported() if stat.S_ISDIR(os.fstat(h).st_mode) else fsync(h)
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for k in range(3):
            write_atomic(tmp_path / "a", bytes([k]))
    assert [str(w.message).split(":")[0] for w in told] == ["this file system cannot sync folders"]
    assert (tmp_path / "a").read_bytes() == b"\x02"


def test_a_folder_that_cannot_be_synced_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch
) -> None:
    fsync = os.fsync

    def failing(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StanleyError, match="Input/output error"):
        write_atomic(tmp_path / "a", b"x")
