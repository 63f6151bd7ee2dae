"""Whatever befalls a checkpoint file, it is noticed, and the one before it is used."""

import errno
import io
import logging
import os
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from slowfast.utils import atomic, checkpoint


def payload(step: int) -> dict:
    return {"global_step": step, "model_state": {"w": torch.arange(6.0)}, "best": {"top1": 12.5}}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with one sound checkpoint, of step 1."""
    checkpoint.save(payload(1), tmp_path / "checkpoint_step_00000001.pyth")
    return tmp_path


def newer(folder: Path) -> Path:
    return folder / "checkpoint_step_00000002.pyth"


def check_older_is_used(folder: Path, caplog) -> None:
    """The newest that can be used is the one of step 1, and the log says what is wrong with the other."""
    caplog.clear()
    checkpoint._pass_over.cache_clear()  # tests may damage a file in the same way twice
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(folder).name == "checkpoint_step_00000001.pyth"
    assert f"checkpoint passed over: {newer(folder)} " in caplog.text


@pytest.mark.parametrize("change", [0x01, 0xFF])
def test_no_wrong_byte_of_a_file_stays_unnoticed(tmp_path, change):
    path = tmp_path / "c.pyth"
    checkpoint.save(payload(1), path)
    sound = path.read_bytes()
    assert checkpoint.verify(path) is None
    with open(path, "r+b", buffering=0) as file:
        for position, byte in enumerate(sound):
            os.pwrite(file.fileno(), bytes([byte ^ change]), position)
            assert "is damaged" in (checkpoint.verify(path) or ""), position
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert checkpoint.verify(path) is None


def test_no_missing_end_of_a_file_stays_unnoticed(tmp_path):
    path = tmp_path / "c.pyth"
    checkpoint.save(payload(1), path)
    sound = path.read_bytes()
    for size in range(len(sound) - 1, -1, -1):
        os.truncate(path, size)
        assert checkpoint.verify(path) is not None, size
    path.write_bytes(sound + b"\0")
    assert "damaged or cut off" in checkpoint.verify(path)


def test_the_checksum_is_out_of_the_way_of_other_readers(tmp_path):
    """torch and zip programs read the file; without the checksum it is the one that torch.save writes."""
    path, plain = tmp_path / "c.pyth", io.BytesIO()
    checkpoint.save(payload(1), path)
    torch.save(payload(1), plain)
    for mmap in (False, True):
        assert torch.equal(torch.load(path, mmap=mmap)["model_state"]["w"], torch.arange(6.0))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"sha256=")
    assert path.read_bytes()[: len(plain.getvalue()) - 2] == plain.getvalue()[:-2]


def test_files_of_torch_save_alone_load(tmp_path):
    torch.save(payload(5), tmp_path / "published.pyth")
    assert checkpoint.load(tmp_path / "published.pyth")["global_step"] == 5


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_is_empty_or_cut_is_passed_over(folder, caplog, share):
    checkpoint.save(payload(2), newer(folder))
    data = newer(folder).read_bytes()
    newer(folder).write_bytes(data[: int(share * len(data))])
    check_older_is_used(folder, caplog)


def test_a_wrong_byte_in_tensors_index_or_checksum_makes_the_older_file_be_used(folder, caplog):
    checkpoint.save(payload(2), newer(folder))
    data = newer(folder).read_bytes()
    places = [
        0,
        data.index(torch.arange(6.0).numpy().tobytes()),
        data.rindex(b"PK\x01\x02") + 10,
        len(data) - 1,
    ]
    for place in places:
        newer(folder).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        check_older_is_used(folder, caplog)


def test_a_file_that_asks_for_too_much_memory_is_not_passed_over(folder, monkeypatch):
    """It may be the machine: an older file would need as much, and the run would begin anew."""

    def load(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(torch, "load", load)
    said = "checkpoint_step_00000001.pyth asks for more memory than there is, or is damaged"
    for read in (
        lambda: checkpoint.load(folder / "checkpoint_step_00000001.pyth"),
        lambda: checkpoint.newest(folder),
    ):
        with pytest.raises(MemoryError, match=said):
            read()


def kill_within(function, *args) -> None:
    """Call a function in a child process that must die by SIGKILL on the way."""
    child = os.fork()
    if child == 0:
        try:
            function(*args)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die(*args) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_half(payload, file) -> None:
    whole = io.BytesIO()
    torch.serialization.save(payload, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    die()


@pytest.mark.parametrize(
    ("module", "name", "instead"),
    [
        (torch, "save", write_half),
        (checkpoint, "_seal", die),
        (atomic.os, "fsync", die),
        (atomic.os, "replace", die),
    ],
    ids=["in the middle", "before the checksum", "before it reaches the disk", "before the rename"],
)
def test_a_kill_while_saving_leaves_the_older_file(folder, monkeypatch, module, name, instead):
    with monkeypatch.context() as patched:
        patched.setattr(module, name, instead)
        kill_within(checkpoint.save, payload(2), newer(folder))
    assert checkpoint.newest(folder).name == "checkpoint_step_00000001.pyth"
    checkpoint.save(payload(2), newer(folder))
    assert checkpoint.newest(folder) == newer(folder)


def test_a_kill_right_after_the_rename_leaves_the_newer_file(folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_sync_folder", die)
        kill_within(checkpoint.save, payload(2), newer(folder))
    assert checkpoint.newest(folder) == newer(folder)


class FullDisk(io.FileIO):
    """A file on a disk that takes 1,000 bytes."""

    def write(self, data) -> int:
        if self.tell() + memoryview(data).nbytes > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_leaves_the_older_file_and_says_so(folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "open", lambda path, mode: FullDisk(path, mode), raising=False)
        with pytest.raises(OSError, match="cannot write .*00000002.pyth: .*; nothing was left behind"):
            checkpoint.save(payload(2), newer(folder))
    assert [path.name for path in folder.iterdir()] == ["checkpoint_step_00000001.pyth"]
    assert checkpoint.newest(folder).name == "checkpoint_step_00000001.pyth"
