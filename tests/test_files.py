"""After any failure a file is either the old one or the new one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from cpnet.files import replacing, write_json


def test_file_is_replaced_only_when_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        with replacing(target) as stream:
            stream.write(b"new")
            stream.flush()
            assert target.read_bytes() == b"old"
        assert (target.read_bytes(), reader.read()) == (b"new", b"old")
    assert list(tmp_path.iterdir()) == [target]


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), FULL], ids=repr)
def test_error_keeps_the_old_file_and_leaves_no_other(error: BaseException, durable: bool, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail() -> None:
        with replacing(target, durable=durable) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    if isinstance(caught.value, OSError):
        assert str(caught.value) == f"[Errno {errno.ENOSPC}] No space left on device: '{target}'"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"old"}


def test_durable_file_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bytes, bool]] = []

    def fsync(_: int) -> None:
        (part,) = tmp_path.glob("*.tmp")
        synced.append((part.read_bytes(), (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "file", durable=True) as stream:
        stream.write(b"new")
    assert synced == [(b"new", False)]
    with replacing(tmp_path / "file") as stream:
        stream.write(b"newer")
    assert len(synced) == 1


def test_json_has_a_line_for_each_list_of_numbers(tmp_path: Path) -> None:
    content = {"a": [1, -2.5, [3, 4]], "b": ["[\n 1,\n 2\n ]", "[ 1 ]"], "c": [], "d": {"e": [1e-9, None], "[1": [0]}}
    write_json(tmp_path / "file", content)
    text = (tmp_path / "file").read_text()
    assert json.loads(text) == content
    assert '"[1": [0]' in text
    assert "[3, 4]" in text
