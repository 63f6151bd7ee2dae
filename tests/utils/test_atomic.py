"""A file is replaced as a whole or not at all."""

import errno
import os

import pytest

from slowfast.utils.atomic import replace_file, sweep


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "deep" / "file"
    for content in (b"old", b"new"):
        with replace_file(path) as file:
            file.write(content)
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_readers_see_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replace_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch, call, old):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    monkeypatch.setattr(os, call, full)
    kept = "unchanged" if old is not None else "nothing was left behind"
    with pytest.raises(OSError, match=f"cannot write {path}: No space left on device; .*{kept}") as caught:
        with replace_file(path) as file:
            file.write(b"new")
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_error_inside_the_block_comes_out_as_it_is(tmp_path):
    with pytest.raises(KeyError):
        with replace_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError("x")
    assert names(tmp_path) == []


def test_folder_in_the_way_is_said(tmp_path):
    (tmp_path / "folder").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write .*folder/file"):
        with replace_file(tmp_path / "folder" / "file"):
            pass


def test_only_what_killed_processes_left_of_a_file_is_swept(tmp_path):
    kept = ["a.txt", ".a.txt", ".b.txt.17.tmp", "a.txt.17.tmp"]
    for name in (*kept, ".a.txt.17.tmp", ".a.txt.18.tmp"):
        (tmp_path / name).write_bytes(b"half")
    sweep(tmp_path / "a.txt")
    assert names(tmp_path) == sorted(kept)
    sweep(tmp_path / "*.txt")
    assert names(tmp_path) == sorted(set(kept) - {".b.txt.17.tmp"})
