"""Lists to shards: which bytes are written, what is kept, what is left out, what is refused."""

import csv
import os
import tarfile

import pytest

from slowfast.datasets.preparation import sharding
from slowfast.datasets.preparation.entries import LeftOut
from slowfast.datasets.preparation.sharding import Video, make_shards, plan_shards
from slowfast.datasets.shards import open_index

CONTENT = {f"c{number % 2}/{number}.mp4": bytes([number]) * 1000 for number in range(7)}


@pytest.fixture
def media(tmp_path):
    root = tmp_path / "media"
    for name, data in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        os.utime(root / name, (1_600_000_000, 1_600_000_000.5))
    return root


@pytest.fixture
def lists(tmp_path):
    """Two lists in different formats that share a video."""
    names = list(CONTENT)
    (tmp_path / "train.csv").write_text("".join(f"{name},1\n" for name in names[:5]))
    (tmp_path / "val.csv").write_text("".join(f"./{name} 2;3\n" for name in names[4:]))
    return [tmp_path / "train.csv", tmp_path / "val.csv"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def make(lists, media, out, shard_bytes=2500):
    return make_shards(lists, media, out, shard_bytes=shard_bytes, workers=1)


def test_videos_are_packed_in_the_order_of_the_lists_each_once(lists, media, out):
    report = make(lists, media, out)
    packed = []
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path, "r:") as tar:
            packed.append([(info.name, tar.extractfile(info).read()) for info in tar])
    assert packed == [list(CONTENT.items())[start : start + 2] for start in (0, 2, 4, 6)]
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".tar") == [
        f"00000{number}.tar" for number in range(4)
    ]
    assert report.splitlines() == [
        "7 videos, 0.00 GB, in 4 shards: 4 written, 0 were there and whole",
        "for the command line of tools/run_net.py:",
        f"DATA.PATH_PREFIX '{out}/*.tar'",
    ]


def test_the_index_is_there_when_it_is_done(lists, media, out):
    make(lists, media, out)
    assert len(list(out.glob("index-*.npz"))) == 1
    index = open_index(str(out / "*.tar"))
    assert {name: index.read(name) for name in CONTENT} == CONTENT


def test_a_second_run_writes_only_what_is_not_whole(lists, media, out, tmp_path):
    make(lists, media, out)
    whole = {path.name: path.read_bytes() for path in out.glob("*.tar")}
    os.truncate(out / "000001.tar", 1700)
    (out / "000002.tar").unlink()
    assert "2 written, 2 were there and whole" in make(lists, media, out)
    assert {path.name: path.read_bytes() for path in out.glob("*.tar")} == whole
    make(lists, media, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.tar")} == whole


def test_a_video_that_was_replaced_is_written_anew(lists, media, out):
    make(lists, media, out)
    name = "c0/2.mp4"
    (media / name).write_bytes(b"x" * 1000)
    assert "1 written, 3 were there and whole" in make(lists, media, out)
    assert open_index(str(out / "*.tar")).read(name) == b"x" * 1000


def test_videos_that_are_not_there_are_left_out_and_named(lists, media, out):
    (media / "c1/1.mp4").unlink()
    (media / "c0/4.mp4").unlink()
    (media / "c0/4.mp4").mkdir()
    report = make(lists, media, out)
    assert "5 videos" in report and "2 listed videos not there, see missing.csv" in report
    with open(out / "missing.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            ["c1/1.mp4", "no such file or directory"],
            ["c0/4.mp4", "not a file"],
        ]
    (media / "c0/4.mp4").rmdir()
    for name in ("c1/1.mp4", "c0/4.mp4"):
        (media / name).write_bytes(CONTENT[name])
    make(lists, media, out)
    assert not (out / "missing.csv").exists()


def test_a_list_of_which_nothing_is_there(lists, out, tmp_path):
    with pytest.raises(
        ValueError, match=r"none of the 7 listed videos .* c0/0\.mp4: no such .*--media right"
    ):
        make(lists, tmp_path / "elsewhere", out)
    assert not list(out.glob("*.tar"))


def test_tars_of_something_else_are_not_left_among_them(lists, media, out):
    make(lists, media, out)
    with pytest.raises(ValueError, match=r"holds 000002\.tar and 1 more, which these 2 shards .*remove it"):
        make(lists, media, out, shard_bytes=4000)
    assert len(list(out.glob("*.tar"))) == 4


@pytest.mark.parametrize("name", ["/videos/a.mp4", "../a.mp4", "a/../../b.mp4"])
def test_paths_that_lead_out_of_the_media_are_refused(media, out, tmp_path, name):
    (tmp_path / "list.csv").write_text(f"{name} 0\n")
    with pytest.raises(ValueError, match=r"list\.csv: .* leads out of --media"):
        make([tmp_path / "list.csv"], media, out)


def test_lists_of_frame_folders_are_refused(media, out, tmp_path):
    (tmp_path / "list.csv").write_text("a 30 0\nb 40 1\n")
    with pytest.raises(ValueError, match=r"list\.csv: a list of frame folders; shards hold video files"):
        make([tmp_path / "list.csv"], media, out)


def test_a_size_of_nothing_is_refused(lists, media, out):
    with pytest.raises(ValueError, match="--size must be above 0"):
        make(lists, media, out, shard_bytes=0)


def test_a_video_that_changes_meanwhile_stops_it_and_leaves_no_shard(lists, media, out, monkeypatch):
    name = next(iter(CONTENT))
    monkeypatch.setattr(
        sharding, "look_up", lambda names, root: ([Video(name, 999, 1_600_000_000)], list[LeftOut]())
    )
    with pytest.raises(
        ValueError, match=r"c0/0\.mp4 changed while shards were written; run the command again"
    ):
        make(lists, media, out)
    assert list(out.iterdir()) == []


def test_a_video_larger_than_a_shard_has_one_of_its_own(tmp_path):
    videos = [Video(f"{number}.mp4", size, 0) for number, size in enumerate([30, 40, 200, 50, 50, 1])]
    planned = plan_shards(videos, tmp_path, tmp_path, 100)
    assert [[video.size for video in shard.videos] for shard in planned] == [[30, 40], [200], [50, 50], [1]]
