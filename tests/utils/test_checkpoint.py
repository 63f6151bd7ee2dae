"""Checkpoints survive full disks and are never taken when damaged."""

import errno
import io
import json
import logging
import os
import pickle
import pickletools
import resource
import signal
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.utils import checkpoint

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_format.json").read_text())


def payload(step: int = 1, size: int = 5000) -> dict:
    return {"global_step": step, "model_state": {"w": torch.arange(size).float()}, "best": None}


def trained_state() -> dict:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return {"model_state": model.state_dict(), "optimizer_state": optimizer.state_dict(), "cfg": "A: 1\n"}


def flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


# -- names and content --------------------


def test_names_are_those_of_the_reference():
    for epoch, name in GOLDEN["names"]:
        assert checkpoint.epoch_path("out", epoch) == Path("out", GOLDEN["folder"], name)
    saved_after = GOLDEN["saved_at_cur_epoch"] + 1
    assert checkpoint.epoch_path(".", saved_after).as_posix() == GOLDEN["path"]
    assert checkpoint.best_path("out") == Path("out", "best.pyth")


def test_state_comes_back_as_it_was(tmp_path):
    state = trained_state()
    checkpoint.save(state, tmp_path / "c.pyth")
    loaded = checkpoint.load(tmp_path / "c.pyth")
    assert type(loaded["model_state"]) is dict
    assert list(loaded["model_state"]) == list(state["model_state"])
    for name, value in state["model_state"].items():
        assert torch.equal(loaded["model_state"][name], value)
    moments, expected = loaded["optimizer_state"]["state"][0], state["optimizer_state"]["state"][0]
    assert set(moments) == set(GOLDEN["optimizer_state"]["state_entry_keys"])
    assert torch.equal(moments["exp_avg"], expected["exp_avg"])
    assert loaded["optimizer_state"]["param_groups"] == state["optimizer_state"]["param_groups"]
    assert checkpoint.verify(tmp_path / "c.pyth") is None


def test_the_file_names_nothing_but_tensors_and_builtins(tmp_path):
    checkpoint.save(trained_state(), tmp_path / "c.pyth")
    with zipfile.ZipFile(tmp_path / "c.pyth") as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    named = {
        argument for opcode, argument, _ in pickletools.genops(io.BytesIO(pickled)) if opcode.name == "GLOBAL"
    }
    allowed = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"}
    assert {name for name in named if not name.startswith("torch ")} <= allowed
    assert {name for name in named if name.startswith("torch ")} <= {
        "torch FloatStorage",
        "torch LongStorage",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float64(0.5), r"payload\['best'\] is a numpy.float64"),
        (np.zeros(2), r"payload\['best'\] is a numpy.ndarray"),
        ({"a": [1, Path("x")]}, r"payload\['best'\]\['a'\]\[1\] is a pathlib"),
        (torch.Size([2]), r"payload\['best'\] is a torch.Size"),
        ({1.5: 0}, r"payload\['best'\] has the key 1.5"),
    ],
)
def test_foreign_values_are_refused_by_name(tmp_path, value, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.save({"best": value}, tmp_path / "c.pyth")
    assert list(tmp_path.iterdir()) == []


def test_as_plain_turns_state_dicts_into_dicts():
    plain = checkpoint.as_plain({"a": OrderedDict(b=nn.Parameter(torch.ones(1))), "c": (1, [True])})
    assert type(plain["a"]) is dict and type(plain["a"]["b"]) is torch.Tensor
    assert plain["c"] == (1, [True])


# -- writing --------------------


def test_disk_full_at_the_end_keeps_the_old_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "c.pyth"
    checkpoint.save(payload(1), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write .*c.pyth: No space left on device; .* unchanged"):
        checkpoint.save(payload(2), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["c.pyth"]


def test_disk_full_while_writing_keeps_the_old_file(tmp_path):
    """The system itself refuses to write beyond a size here, in the midst of torch.save."""
    path = tmp_path / "c.pyth"
    checkpoint.save(payload(1), path)
    before = path.read_bytes()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write .*c.pyth: File too large; .* unchanged"):
            checkpoint.save(payload(2, size=1_000_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["c.pyth"]


def test_ctrl_c_in_the_midst_of_a_save_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    class Interrupted:
        def update(self, data):
            raise KeyboardInterrupt

    path = tmp_path / "c.pyth"
    checkpoint.save(payload(1), path)
    before = path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint.hashlib, "sha256", Interrupted)
        checkpoint.save(payload(2), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["c.pyth"]


# -- reading what is wrong --------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("epoch 3, loss 0.5\n")


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))


def whole_module(path: Path) -> None:
    torch.save({"model": nn.Linear(1, 1)}, path)


def numpy_inside(path: Path) -> None:
    torch.save({"best": np.float64(0.5)}, path)


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def half(path: Path) -> None:
    checkpoint.save(payload(), path)
    cut(path, 0.5)


def last_byte_missing(path: Path) -> None:
    checkpoint.save(payload(), path)
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    checkpoint.save(payload(), path)
    flip_byte(path, path.stat().st_size // 2)


def flipped_without_our_checksum(path: Path) -> None:
    torch.save(payload(), path)
    flip_byte(path, path.stat().st_size // 2)


def cut_without_our_checksum(path: Path) -> None:
    torch.save(payload(), path)
    cut(path, 0.999)


def half_of_the_old_format(path: Path) -> None:
    torch.save(payload(), path, _use_new_zipfile_serialization=False)
    cut(path, 0.5)


def not_a_dict(path: Path) -> None:
    torch.save([torch.ones(1)], path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (empty, "is empty"),
        (text, "is not a checkpoint: it does not begin as a file of torch.save does"),
        (plain_pickle, "was not written by torch.save"),
        (whole_module, "holds torch.nn.modules.linear.Linear, but only tensors .* foreign code"),
        (numpy_inside, "holds numpy.*scalar, but only tensors"),
        (other_zip, "was not written by torch.save"),
        (half, "damaged or cut off"),
        (last_byte_missing, "damaged or cut off"),
        (flipped, "its checksum is wrong"),
        (flipped_without_our_checksum, "the checksum of its part .* is wrong"),
        (cut_without_our_checksum, "damaged or cut off"),
        (half_of_the_old_format, "cut off"),
        (not_a_dict, "it holds a list, not a dict"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unusable_files_are_refused_with_the_reason(tmp_path, make, reason):
    path = tmp_path / "some.pyth"
    make(path)
    with pytest.raises(ValueError, match=rf"^{path}.*{reason}") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert checkpoint.verify(path) == str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint not found: .*gone.pyth"):
        checkpoint.load(tmp_path / "gone.pyth")
    with pytest.raises(ValueError, match="is a folder, not a checkpoint file: name one in it, such as best.pyth"):
        checkpoint.load(tmp_path)
    assert "not found" in checkpoint.verify(tmp_path / "gone.pyth")


def test_old_format_without_checksums_loads(tmp_path):
    torch.save(payload(7), tmp_path / "old.pyth", _use_new_zipfile_serialization=False)
    assert checkpoint.load(tmp_path / "old.pyth")["global_step"] == 7


def test_loading_never_runs_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"global_step": 1, "trap": Trap()}, tmp_path / "c.pyth")
    with pytest.raises(ValueError, match="foreign code"):
        checkpoint.load(tmp_path / "c.pyth")
    assert checkpoint.newest(tmp_path) is None
    assert not (tmp_path / "executed").exists()


def test_url_like_names_go_through_iopath(tmp_path):
    from iopath.common.file_io import PathHandler, g_pathmgr

    class Shelf(PathHandler):
        def _get_supported_prefixes(self):
            return ["shelf://"]

        def _get_local_path(self, path, force=False, **kwargs):
            return str(tmp_path / path.removeprefix("shelf://"))

    g_pathmgr.register_handler(Shelf())
    checkpoint.save(payload(3), tmp_path / "c.pyth")
    assert checkpoint.load("shelf://c.pyth")["global_step"] == 3


# -- choosing --------------------


def test_newest_is_the_largest_step_not_the_last_name(tmp_path):
    checkpoint.save(payload(900), tmp_path / "a.pyth")
    checkpoint.save(payload(1000), tmp_path / "checkpoint_epoch_00001.pyth")
    checkpoint.save(payload(20), tmp_path / "z.pyth")
    assert checkpoint.newest(tmp_path).name == "checkpoint_epoch_00001.pyth"


@pytest.mark.parametrize("damage", [half, flipped, empty, whole_module])
def test_newest_passes_over_damaged_files_by_name(tmp_path, caplog, damage):
    checkpoint.save(payload(0), tmp_path / "checkpoint_epoch_00001.pyth")
    damage(tmp_path / "checkpoint_epoch_00002.pyth")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(tmp_path).name == "checkpoint_epoch_00001.pyth"
    assert "checkpoint passed over" in caplog.text
    assert "checkpoint_epoch_00002.pyth" in caplog.text


def test_a_damaged_file_is_complained_of_once(tmp_path, caplog):
    checkpoint.save(payload(0), tmp_path / "checkpoint_epoch_00001.pyth")
    half(tmp_path / "checkpoint_epoch_00002.pyth")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            checkpoint.prune(tmp_path, 1)
            assert checkpoint.newest(tmp_path).name == "checkpoint_epoch_00001.pyth"
    assert caplog.text.count("checkpoint passed over") == 1


def test_the_newest_of_those_that_are_wanted(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(payload(step), checkpoint.step_path(tmp_path, step))
    folder = tmp_path / checkpoint.FOLDER
    assert checkpoint.newest(folder, lambda saved: saved["global_step"] < 3) == checkpoint.step_path(tmp_path, 2)
    assert checkpoint.newest(folder, lambda saved: False) is None


def test_what_came_after_a_step_is_dropped_and_nothing_else(tmp_path):
    later = [checkpoint.step_path(tmp_path, 12), checkpoint.epoch_path(tmp_path, 2)]
    kept = [checkpoint.step_path(tmp_path, 10), checkpoint.epoch_path(tmp_path, 1)]
    folder = tmp_path / checkpoint.FOLDER
    for path, step in zip([*later, *kept, folder / "mine.pyth"], [12, 20, 10, 10, 30], strict=True):
        checkpoint.save(payload(step), path)
    empty(folder / "checkpoint_step_00000099.pyth")
    checkpoint.save(payload(21), checkpoint.step_path(tmp_path, 21))
    assert sorted(checkpoint.drop(folder, after=10, up_to=20)) == sorted(later)
    left = sorted(path.name for path in folder.iterdir())
    damaged, beyond = "checkpoint_step_00000099.pyth", "checkpoint_step_00000021.pyth"
    assert left == [kept[1].name, kept[0].name, beyond, damaged, "mine.pyth"]


def test_a_file_of_another_kind_is_called_so(tmp_path):
    for content in (b"clips/a.mp4 0\nclips/b.mp4 1\n", b"c", b"\x00\x01\x02"):
        path = tmp_path / "train.csv"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="train.csv is not a checkpoint: it does not begin as a file of torch"):
            checkpoint.load(path)


def test_newest_of_nothing(tmp_path):
    assert checkpoint.newest(tmp_path / "missing") is None
    (tmp_path / "other.txt").write_text("x")
    torch.save({"model_state": {}, "epoch": 3}, tmp_path / "published.pyth")
    assert checkpoint.newest(tmp_path) is None


def test_prune_keeps_the_newest_and_everything_that_is_not_its_own(tmp_path):
    for epoch, step in [(1, 10), (2, 40), (3, 30), (4, 20)]:  # epoch 2 was written by a longer run
        checkpoint.save(payload(step), tmp_path / f"checkpoint_epoch_{epoch:05d}.pyth")
    checkpoint.save(payload(1), tmp_path / "best.pyth")
    checkpoint.save(payload(1), tmp_path / "mine.pyth")
    (tmp_path / "checkpoint_notes.txt").write_text("x")
    empty(tmp_path / "checkpoint_epoch_00009.pyth")
    assert checkpoint.prune(tmp_path, 0) == []
    removed = checkpoint.prune(tmp_path, 2)
    assert [path.name for path in removed] == ["checkpoint_epoch_00001.pyth", "checkpoint_epoch_00004.pyth"]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [
        "best.pyth",
        "checkpoint_epoch_00002.pyth",
        "checkpoint_epoch_00003.pyth",
        "checkpoint_epoch_00009.pyth",
        "checkpoint_notes.txt",
        "mine.pyth",
    ]


def test_prune_keeps_the_newest_steps_after_the_newest_epoch(tmp_path):
    for step in (8, 9, 11, 12, 13):
        checkpoint.save(payload(step), checkpoint.step_path(tmp_path, step))
    checkpoint.save(payload(10), checkpoint.epoch_path(tmp_path, 1))
    folder = tmp_path / checkpoint.FOLDER
    assert sorted(path.name[-7:-5] for path in checkpoint.prune(folder, 2)) == ["08", "09", "11"]
    assert checkpoint.newest(folder) == checkpoint.step_path(tmp_path, 13)
    checkpoint.save(payload(20), checkpoint.epoch_path(tmp_path, 2))
    checkpoint.prune(folder, 1)
    assert list(folder.iterdir()) == [checkpoint.epoch_path(tmp_path, 2)]


def test_prune_spares_the_file_just_written_whatever_step_another_names(tmp_path):
    checkpoint.save(payload(10**9), checkpoint.epoch_path(tmp_path, 1))
    for path in (checkpoint.epoch_path(tmp_path, 2), checkpoint.step_path(tmp_path, 20)):
        checkpoint.save(payload(20), path)
        assert checkpoint.prune(tmp_path / checkpoint.FOLDER, 1, spare=path) == []
        path.unlink()


def test_only_what_killed_saves_left_is_swept(tmp_path):
    checkpoint.save(payload(), checkpoint.epoch_path(tmp_path, 1))
    checkpoint.save(payload(), checkpoint.best_path(tmp_path))
    kept = sorted(tmp_path.rglob("*.pyth"))
    for path in kept:
        path.with_name(f".{path.name}.123.tmp").write_bytes(b"PK")
    checkpoint.sweep(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == kept
