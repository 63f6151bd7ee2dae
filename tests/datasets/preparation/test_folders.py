"""folders.py: class folders → items, and a split that is stratified, keeps groups whole and follows the seed."""

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from slowfast.datasets.preparation import folders
from slowfast.datasets.preparation.classes import ClassNumbers
from slowfast.datasets.preparation.entries import Item
from slowfast.datasets.preparation.folders import Shares, groups_of, read_tree, split_items, without_copies
from slowfast.datasets.preparation.media import FrameFolder, MediaTree, look

NAMES = ["jump", "run"]


def tree_of(*videos, size=9, frames=None):
    return MediaTree(Path("media"), {video: size for video in videos}, frames or {})


def items_of(**counts):
    """counts: class name → number of videos called class/p<person>_<n>.mp4, two videos for a person."""
    return [
        Item(f"{name}/p{n // 2}_{n}.mp4", label, "train")
        for label, (name, count) in enumerate(sorted(counts.items()))
        for n in range(count)
    ]


def split(items, groups=None, shares=None, seed=0, names=NAMES):
    return split_items(items, groups or groups_of(items, ""), names, shares or Shares(0.1, 0.2), seed)


def test_the_first_folder_is_the_class():
    names, items, left_out = read_tree(tree_of("run/b.mp4", "jump/x/a.avi", "run/a.mp4", "odd.mp4"), "videos")
    assert names == ["jump", "run"]
    assert {(item.path, item.label) for item in items} == {
        ("jump/x/a.avi", 0),
        ("run/a.mp4", 1),
        ("run/b.mp4", 1),
    }
    assert [(item.path, item.label) for item in left_out] == [("odd.mp4", -1)]
    assert "beside the class folders" in left_out[0].reason


def test_frame_folders_and_a_given_order():
    frames = {"jump/1": FrameFolder(4, "{:05d}.jpg"), "run/1": FrameFolder(5, "{:05d}.jpg")}
    frames["run/2"] = FrameFolder(1, problem="gap")
    order = ClassNumbers(["Run", "jump"], "classes.txt")
    names, items, left_out = read_tree(tree_of(frames=frames), "frames", order)
    assert names == ["Run", "jump"]
    assert items == [Item("jump/1", 1, "train", 4), Item("run/1", 0, "train", 5)]
    assert [(item.path, item.reason, item.label) for item in left_out] == [("run/2", "gap", 0)]


@pytest.mark.parametrize(
    ("videos", "said"),
    [
        (["run/a.mp4"], "media: only one class folder, 'run'"),
        (["a.mp4", "b.mp4"], "media: no class folder with usable media in it; .*'a.mp4': a video beside"),
        (["train/run/a.mp4", "val/run/b.mp4"], "the folders train, val are splits, not classes"),
    ],
)
def test_trees_that_hold_no_classes_are_refused(videos, said):
    with pytest.raises(ValueError, match=said):
        read_tree(tree_of(*videos), "videos")


def test_a_folder_that_is_no_class_of_the_given_order_is_refused():
    with pytest.raises(ValueError, match="unknown class 'runn'; nearest: 'run'"):
        read_tree(tree_of("runn/a.mp4", "jump/a.mp4"), "videos", ClassNumbers(["run", "jump"], "classes.txt"))


def write_files(root, contents):
    """contents: path → bytes, or a list of them for a frame folder."""
    for path, content in contents.items():
        pictures = content if isinstance(content, list) else []
        files = {f"{path}/{n:05d}.jpg": picture for n, picture in enumerate(pictures, start=1)}
        for file, data in (files or {path: content}).items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(data)
    return root


def left_out_of(root, kind):
    """(paths kept, (path, reason, label) of those left out) of a tree of class folders."""
    tree = look(root)
    _, items, linked = read_tree(tree, kind)
    kept, copies = without_copies(items, tree, kind)
    return [item.path for item in kept], [(item.path, item.reason, item.label) for item in linked + copies]


def test_copies_are_left_out(tmp_path):
    write_files(tmp_path, {"a/1.mp4": b"one", "a/2.mp4": b"two", "b/3.mp4": b"one", "b/4.mp4": b"four"})
    kept, left_out = left_out_of(tmp_path, "videos")
    assert kept == ["a/1.mp4", "a/2.mp4", "b/4.mp4"]
    assert left_out == [("b/3.mp4", "same content as a/1.mp4", 1)]


def test_copies_of_frame_folders_are_left_out_and_only_what_could_be_one_is_read(tmp_path, monkeypatch):
    contents = {
        "a/1": [b"one", b"two"],
        "a/2": [b"two", b"one"],  # the same pictures in another order
        "a/3": [b"one", b"two", b"six"],
        "a/4": [b"other", b"two"],
        "b/5": [b"one", b"four"],
        "b/6": [b"one", b"two"],
    }
    read, digest = [], folders._digest
    monkeypatch.setattr(folders, "_digest", lambda files: read.append(files[0].parent.name) or digest(files))
    kept, left_out = left_out_of(write_files(tmp_path, contents), "frames")
    assert kept == ["a/1", "a/2", "a/3", "a/4", "b/5"]
    assert left_out == [("b/6", "same content as a/1", 1)]
    assert read == ["1", "2", "6"]


def test_what_links_bring_once_more_is_left_out_like_copies(tmp_path):
    write_files(tmp_path, {"a/1.mp4": b"one", "a/2.mp4": b"two", "b/3.mp4": b"three", "b/x/4.mp4": b"four"})
    (tmp_path / "a" / "soft.mp4").symlink_to(tmp_path / "a" / "1.mp4")
    (tmp_path / "b" / "hard.mp4").hardlink_to(tmp_path / "a" / "2.mp4")
    (tmp_path / "b" / "y").symlink_to(tmp_path / "b" / "x", target_is_directory=True)
    (tmp_path / "c").symlink_to(tmp_path / "a", target_is_directory=True)
    kept, left_out = left_out_of(tmp_path, "videos")
    assert kept == ["a/1.mp4", "a/2.mp4", "b/3.mp4", "b/x/4.mp4"]
    assert left_out == [
        ("b/y/4.mp4", "same content as b/x/4.mp4", 1),
        ("c/1.mp4", "same content as a/1.mp4", -1),  # c is no class: it has nothing of its own
        ("c/2.mp4", "same content as a/2.mp4", -1),
        ("c/soft.mp4", "same content as a/soft.mp4", -1),
        ("a/soft.mp4", "same content as a/1.mp4", 0),
        ("b/hard.mp4", "same content as a/2.mp4", 1),
    ]


def test_a_link_to_a_frame_folder_is_left_out_like_a_copy(tmp_path):
    write_files(tmp_path, {"a/1": [b"one"], "b/2": [b"two"]})
    (tmp_path / "b" / "3").symlink_to(tmp_path / "a" / "1", target_is_directory=True)
    kept, left_out = left_out_of(tmp_path, "frames")
    assert kept == ["a/1", "b/2"] and left_out == [("b/3", "same content as a/1", 1)]


def test_every_class_gets_its_share_of_every_split():
    counts = Counter((item.label, item.split) for item in split(items_of(jump=20, run=10)))
    assert counts == {
        (0, "train"): 14, (0, "val"): 2, (0, "test"): 4,
        (1, "train"): 7, (1, "val"): 1, (1, "test"): 2,
    }  # fmt: skip


def test_small_classes_get_one_in_every_split():
    counts = Counter((item.label, item.split) for item in split(items_of(jump=3, run=4)))
    assert all(counts[label, name] >= 1 for label in (0, 1) for name in ("train", "val", "test"))


def test_the_order_of_files_does_not_matter_and_the_seed_does():
    items = items_of(jump=20, run=10)
    shuffled = items[:]
    random.Random(3).shuffle(shuffled)
    assert split(items) == split(shuffled)
    assert split(items) != split(items, seed=1)


def test_no_group_is_in_two_splits_even_across_classes():
    items = items_of(jump=40, run=40)
    groups = groups_of(items, r"(p\d+)_")
    splits_of = defaultdict(set)
    done = split(items, groups)
    for item in done:
        splits_of[item.path.split("/")[1].split("_")[0]].add(item.split)
    assert len(splits_of) == 20 and all(len(found) == 1 for found in splits_of.values())
    counts = Counter((item.label, item.split) for item in done)
    # 20 persons with two videos of each class: 14, 2 and 4 of them.
    assert [counts[label, name] for label in (0, 1) for name in ("train", "val", "test")] == [28, 4, 8] * 2


def test_splits_can_be_left_out():
    done = split(items_of(jump=4, run=4), shares=Shares(0.25, 0))
    assert Counter(item.split for item in done) == {"train": 6, "val": 2}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("p(", "not a regular expression"),
        (r"p\d+", r"no group in it; put \( \) around"),
        (r"person(\d+)", r"finds no group in 5 of 5 paths, such as 'jump/p0_0.mp4'"),
        (r"jump/p(\d)", r"finds no group in 2 of 5 paths, such as 'run/p0_0.mp4'"),
    ],
)
def test_patterns_that_name_no_group_are_refused(pattern, said):
    with pytest.raises(ValueError, match=said):
        groups_of(items_of(jump=3, run=2), pattern)


def test_classes_with_too_few_videos_or_groups_are_named():
    with pytest.raises(ValueError, match=r"need 3 groups of every class .*'run' \(2 videos in 2 groups\)"):
        split(items_of(jump=3, run=2))
    items = items_of(jump=6, run=4)
    with pytest.raises(ValueError, match=r"'run' \(4 videos in 2 groups\)"):
        split(items, groups_of(items, r"(p\d+)_"))
    with pytest.raises(ValueError, match=r"'walk' \(0 videos in 0 groups\)"):
        split(items_of(jump=3, run=3), names=[*NAMES, "walk"])


def test_every_split_gets_something_of_every_class_when_groups_are_few():
    items = items_of(jump=15, run=3)
    groups = [f"g{int(item.path.split('_')[1][:-4]) % 3}" for item in items]
    counts = Counter((item.label, item.split) for item in split(items, groups))
    assert sorted(counts.values()) == [1, 1, 1, 5, 5, 5]


def test_groups_that_cannot_be_shared_out_are_told():
    # Each class has three of four groups, which must go to three splits: with every choice of three, no way.
    groups_of_class = ["xyz", "xyw", "xzw", "yzw"]
    items = [
        Item(f"{label}/{group}", label, "train") for label in range(4) for group in groups_of_class[label]
    ]
    groups = groups_of(items, "/(.)")
    with pytest.raises(ValueError, match="groups cannot be shared out .* has none in .* try another --seed"):
        split(items, groups, names=["a", "b", "c", "d"])


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (1.0, 0), (0.5, 0.5), (0.1, 20)])
def test_shares_that_are_none_are_refused(val, test):
    with pytest.raises(ValueError, match="such as 0.1|nothing to train on"):
        Shares(val, test)
