"""The index of shards: what is found by name, when it is made anew, and what is refused."""

import os
import pickle

import numpy as np
import pytest
import torch

from slowfast.datasets import shards
from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.shards import names_shards, open_index

CONTENT = [
    {"train/b/2.mp4": b"two", "./train/a/1.mp4": b"one!", "train/empty.mp4": b""},
    {"val/a/11.mp4": b"eleven" * 200, "größe 3.mp4": b"three"},
]


@pytest.fixture
def folder(write_tar, tmp_path):
    shards._open.cache_clear()
    for number, content in enumerate(CONTENT):
        write_tar(tmp_path / f"{number}.tar", content)
    return tmp_path


@pytest.fixture
def builds(monkeypatch):
    """How often an index was made from headers."""
    made, build = [], shards._build
    monkeypatch.setattr(shards, "_build", lambda *args: made.append(args) or build(*args))
    return made


def anew(folder, pattern="*.tar", spare=""):
    """What another process would get."""
    shards._open.cache_clear()
    return open_index(os.path.join(folder, pattern), str(spare))


def index_files(folder):
    return sorted(path.name for path in folder.glob("index-*.npz"))


def test_every_member_is_read_by_its_name(folder):
    index = anew(folder)
    assert len(index) == 5
    for content in CONTENT:
        for name, data in content.items():
            assert index.read(name) == index.read(f"./{name.removeprefix('./')}") == data


def test_the_index_is_kept_beside_the_shards_and_read_again(folder, builds):
    first = anew(folder)
    assert len(index_files(folder)) == 1
    second = anew(folder)
    assert len(builds) == 1 and second is not first
    for name in shards._COLUMNS:
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert second.read("train/b/2.mp4") == b"two"


def test_the_lists_of_a_run_share_one_index(folder):
    assert anew(folder) is open_index(str(folder / "*.tar"))


def test_shards_may_move_with_their_index(folder, tmp_path_factory, builds):
    anew(folder)
    moved = tmp_path_factory.mktemp("elsewhere") / "new"
    folder.rename(moved)
    assert anew(moved).read("train/a/1.mp4") == b"one!" and len(builds) == 1


def test_a_changed_shard_makes_a_new_index(folder, write_tar, builds):
    anew(folder)
    write_tar(folder / "1.tar", {"val/new.mp4": b"new"})
    index = anew(folder)
    assert index.read("val/new.mp4") == b"new" and len(index) == 4
    os.utime(folder / "1.tar", (1, 1))
    write_tar(folder / "2.tar", {"val/third.mp4": b"third"})
    assert anew(folder).read("val/third.mp4") == b"third" and len(builds) == 3
    os.utime(folder / "1.tar", (2, 2))
    anew(folder)
    assert len(builds) == 4


def test_a_damaged_index_is_made_anew(folder, builds):
    anew(folder)
    (file,) = folder.glob("index-*.npz")
    data = bytearray(file.read_bytes())
    method = data.index(b"PK\x01\x02") + 10  # of compression, in the archive's own index
    for content in (
        data[: len(data) // 2],
        b"",
        data[:200] + b"?" + data[201:],
        data[:method] + b"?" + data[method + 1 :],
    ):
        file.write_bytes(content)
        assert anew(folder).read("train/b/2.mp4") == b"two"
    assert len(builds) == 5


def test_each_pattern_has_an_index_of_its_own(folder, builds):
    assert len(anew(folder, "0.tar")) == 3
    assert len(anew(folder, "*.tar")) == 5
    assert len(anew(folder, "0.tar")) == 3
    assert len(builds) == 2 and len(index_files(folder)) == 2


def test_folders_in_the_pattern(folder, write_tar):
    for name in ("x", "y"):
        (folder / name).mkdir()
        write_tar(folder / name / "0.tar", {f"{name}.mp4": name.encode()})
    index = anew(folder, "*/0.tar")
    assert (index.read("x.mp4"), index.read("y.mp4")) == (b"x", b"y")
    assert len(index_files(folder)) == 1


def test_where_the_folder_cannot_be_written_the_index_goes_to_the_spare_folder(
    folder, tmp_path_factory, monkeypatch, builds
):
    spare = tmp_path_factory.mktemp("run")
    refuse_writing(monkeypatch, folder)
    anew(folder, spare=spare)
    assert index_files(folder) == [] and len(index_files(spare)) == 1
    assert anew(folder, spare=spare).read("train/b/2.mp4") == b"two" and len(builds) == 1


def test_where_no_folder_can_be_written_it_is_said(folder, tmp_path_factory, monkeypatch, caplog, builds):
    spare = tmp_path_factory.mktemp("run")
    refuse_writing(monkeypatch, folder, spare)
    with caplog.at_level("INFO", "slowfast"):
        anew(folder, spare=spare)
        anew(folder, spare=spare)
    assert len(builds) == 2
    assert f"made again at every start: cannot write {folder}" in caplog.text and str(spare) in caplog.text


def refuse_writing(monkeypatch, *folders):
    replace_file = shards.replace_file

    def refusing(path):
        if path.parent in folders:
            raise PermissionError(f"cannot write {path}")
        return replace_file(path)

    monkeypatch.setattr(shards, "replace_file", refusing)


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("a/1.mp4", "train/a/1.mp4"),  # the file name decides, not part of one: 11.mp4 comes later
        ("11.mp4", "val/a/11.mp4"),
        ("k400/train/a/1.mp4", "train/a/1.mp4"),
        ("train/b/2.mkv", "train/b/2.mp4"),
        ("zzz", "val/a/11.mp4"),
        ("Train", "größe 3.mp4"),
    ],
)
def test_a_missing_name_is_told_with_the_pattern_and_a_similar_one(folder, name, similar):
    with pytest.raises(UnreadableVideo) as error:
        anew(folder).read(name)
    assert str(error.value) == (
        f"no such member in {folder}/*.tar (5 videos in 2 shards); a similar one is {similar}"
    )


def test_of_members_with_the_same_file_name_the_one_in_the_most_similar_folder_is_told(write_tar, tmp_path):
    write_tar(tmp_path / "0.tar", {"x/test/a/1.mp4": b"", "x/train/a/1.mp4": b"", "x/train/b/1.mp4": b""})
    with pytest.raises(UnreadableVideo, match=r"a similar one is x/train/a/1\.mp4$"):
        anew(tmp_path).read("train/a/1.mp4")


def test_a_shard_that_goes_away_or_shrinks_meanwhile(folder):
    index = anew(folder)
    os.truncate(folder / "1.tar", 700)
    with pytest.raises(UnreadableVideo, match=r"shard .*1\.tar has become shorter"):
        index.read("val/a/11.mp4")
    (folder / "1.tar").unlink()
    with pytest.raises(UnreadableVideo, match=r"shard .*1\.tar cannot be read \(No such file"):
        index.read("val/a/11.mp4")


def test_the_same_name_twice_is_refused(folder, write_tar):
    write_tar(folder / "2.tar", {"train/a/1.mp4": b"another"})
    with pytest.raises(ValueError, match=r"train/a/1\.mp4 is in .*0\.tar and in .*2\.tar: which is meant"):
        anew(folder)
    write_tar(folder / "2.tar", {"x.mp4": b"", "./x.mp4": b""})
    with pytest.raises(ValueError, match=r"x\.mp4 is twice in .*2\.tar"):
        anew(folder)


def test_a_truncated_shard_is_refused_at_the_start(folder):
    os.truncate(folder / "1.tar", 700)
    with pytest.raises(
        ValueError, match=r"1\.tar: truncated: val/a/11\.mp4 ends at byte 1712, the file has 700"
    ):
        anew(folder)


def test_shards_without_anything(folder, write_tar):
    write_tar(folder / "e.tar", {})
    with pytest.raises(ValueError, match=r"e\.tar: 1 tar files fit, and all are empty"):
        anew(folder, "e.tar")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("gone/*.tar", r"there is no folder .*gone"),
        ("x*.tar", r"no file fits; .* holds 2 entries such as 0\.tar\. Write a pattern .*folder/\*\.tar"),
    ],
)
def test_a_pattern_that_nothing_fits(folder, pattern, message):
    with pytest.raises(FileNotFoundError, match=rf"DATA\.PATH_PREFIX .*: {message}"):
        anew(folder, pattern)


@pytest.mark.parametrize("pattern", ["*.tar.gz", "a.tgz", "*.tar.zst"])
def test_compressed_shards_are_refused_by_name(folder, pattern):
    assert names_shards(f"{folder}/{pattern}")
    with pytest.raises(ValueError, match=r"compressed shards cannot be read .*write it as a plain tar: tar "):
        anew(folder, pattern)


def test_what_is_a_pattern_of_shards(tmp_path):
    (tmp_path / "folder.tar").mkdir()
    assert names_shards("shards/*.tar") and names_shards("one.tar")
    assert not names_shards("") and not names_shards("videos") and not names_shards("star")
    assert not names_shards(str(tmp_path / "folder.tar"))


def test_a_process_gets_the_index_as_tensors(folder):
    index = pickle.loads(pickle.dumps(anew(folder)))
    assert index.read("train/b/2.mp4") == b"two"
    assert all(isinstance(getattr(index, name), torch.Tensor) for name in shards._COLUMNS)


def test_names_are_found_among_many(write_tar, tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{number:04d}.mp4" for number in rng.permutation(2000)]
    for part in range(4):
        write_tar(tmp_path / f"{part}.tar", {name: name.encode() for name in names[part::4]})
    index = anew(tmp_path)
    assert all(index.read(name) == name.encode() for name in names)
