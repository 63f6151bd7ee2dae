"""media.py: what lies in a folder, and which of it an annotation means."""

import pytest

from slowfast.datasets.preparation.claims import TWICE, TWO_CLASSES, TWO_LISTS
from slowfast.datasets.preparation.entries import Entry, Item, LeftOut
from slowfast.datasets.preparation.media import (
    FrameFolder,
    choose_kind,
    file_size,
    frame_folder,
    look,
    match,
)


def touch(root, *paths, content=b"x"):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def entry(*names, class_name="", label=0, split="train", where="a.csv:1"):
    return Entry(names, class_name, label, split, where)


def test_a_tree_is_told_apart(tmp_path):
    touch(
        tmp_path,
        "a/1.MP4",
        "a/deep/2.webm",
        "b/3/img_00001.jpg",
        "b/3/img_00002.jpg",
        "b/note.txt",
        ".x/4.mp4",
    )
    touch(tmp_path, "c/empty.avi", content=b"")
    tree = look(tmp_path)
    assert tree.videos == {"a/1.MP4": 1, "a/deep/2.webm": 1, "c/empty.avi": 0}
    assert tree.frames == {"b/3": FrameFolder(2, "img_{:05d}.jpg")}
    assert tree.others == {".txt": 1}


def test_links_in_a_circle_are_followed_once(tmp_path):
    touch(tmp_path, "media/a/1.mp4", "elsewhere/2.mp4")
    (tmp_path / "media" / "a" / "up").symlink_to(tmp_path / "media", target_is_directory=True)
    (tmp_path / "media" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    tree = look(tmp_path / "media")
    assert tree.videos == {"a/1.mp4": 1, "b/2.mp4": 1} and tree.links == {} == tree.linked("videos")


def test_folders_that_a_link_leads_to_once_more_are_noted(tmp_path):
    touch(tmp_path, "a/x/1.mp4", "a/x/y/2.mp4", "b/3.mp4")
    (tmp_path / "b" / "z").symlink_to(tmp_path / "a" / "x", target_is_directory=True)
    tree = look(tmp_path)
    assert list(tree.videos) == ["a/x/1.mp4", "a/x/y/2.mp4", "b/3.mp4"] and tree.links == {"b/z": "a/x"}
    assert tree.linked("videos") == {"b/z/1.mp4": "a/x/1.mp4", "b/z/y/2.mp4": "a/x/y/2.mp4"}
    assert tree.linked("frames") == {}


def test_a_link_that_leads_nowhere_has_no_bytes(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert file_size(touch(tmp_path, "a", content=b"abc") / "a") == 3 and file_size(tmp_path / "gone") == 0


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        look(tmp_path / "nothing")
    with pytest.raises(ValueError, match="not a folder"):
        look(touch(tmp_path, "a.mp4") / "a.mp4")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["00001.jpg", "00002.jpg"], FrameFolder(2, "{:05d}.jpg")),
        (["f1.png"], FrameFolder(1, "f{:01d}.png")),
        ([f"{n}.jpg" for n in range(1, 12)], FrameFolder(11, "{:01d}.jpg")),
        (["1.jpg", "3.jpg"], FrameFolder(2, problem="picture 2 is missing: 2 pictures, numbered up to 3")),
        (["0.jpg", "1.jpg"], FrameFolder(2, problem="pictures are numbered from 0; they must begin with 1")),
        (["1.jpg", "01.jpg"], FrameFolder(2, problem="picture 1 is there twice, with different numbers of digits")),
        (["1.jpg", "cover.jpg"], FrameFolder(2, problem="picture 'cover.jpg' has no number at its end")),
        (["1.jpg", "2.png"], FrameFolder(2, problem="pictures with different names: '1.jpg' and '2.png'")),
    ],
)  # fmt: skip
def test_frame_folders_are_counted_and_checked(names, expected):
    assert frame_folder(names) == expected


def test_names_that_no_template_makes_are_refused():
    assert "follow no template" in frame_folder(["1.jpg", "002.jpg"]).problem
    assert "follow no template" in frame_folder(["{1.jpg"]).problem


def test_a_folder_with_another_template_than_most_cannot_be_used(tmp_path):
    tree = look(touch(tmp_path, "a/1/1.jpg", "a/2/1.jpg", "a/3/img_1.jpg"))
    assert not tree.frames["a/1"].problem
    assert tree.frames["a/3"].problem == "pictures are named img_{:01d}.jpg, in most other folders {:01d}.jpg"


def test_the_kind_is_found_out_or_asked_for(tmp_path):
    touch(tmp_path, "a/1.mp4")
    assert choose_kind(look(tmp_path)) == "videos"
    with pytest.raises(ValueError, match="1 video file and 0 frame folders"):
        choose_kind(look(tmp_path), "frames")
    touch(tmp_path, "a/2/1.jpg")
    with pytest.raises(ValueError, match="say with --use videos or --use frames"):
        choose_kind(look(tmp_path))
    assert choose_kind(look(tmp_path), "frames") == "frames"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds 0 video files and 0 frame folders; videos end in"):
        choose_kind(look(empty))
    touch(empty, "a.zip")
    with pytest.raises(ValueError, match=r"but 1 \.zip"):
        choose_kind(look(empty))


def test_videos_are_found_wherever_they_lie_and_in_any_container(tmp_path):
    tree = look(touch(tmp_path, "id1_000001_000011.mp4", "id1.mp4", "playing_guitar/id2.webm", "x/id3.mkv"))
    entries = [entry(f"id{n}_000001_000011", f"id{n}", label=n) for n in (1, 2, 3)]
    items, left_out = match(entries, tree, "videos")
    assert [item.path for item in items] == ["id1_000001_000011.mp4", "playing_guitar/id2.webm", "x/id3.mkv"]
    assert [item.label for item in items] == [1, 2, 3] and not left_out


def test_of_two_with_one_name_the_one_in_the_folder_of_the_class_is_used(tmp_path):
    tree = look(touch(tmp_path, "a/v.mp4", "playing_guitar/v.mp4"))
    items, left_out = match([entry("v", class_name="playing guitar")], tree, "videos")
    assert items == [Item("playing_guitar/v.mp4", 0, "train")]
    assert left_out == [LeftOut("a/v.mp4", "playing_guitar/v.mp4 has the same name and is used")]


def test_what_is_not_listed_has_a_reason(tmp_path):
    touch(tmp_path, "a.mp4")
    touch(tmp_path, "b.mp4", content=b"")
    entries = [
        entry("a"),
        entry("b", where="a.csv:2", label=1),
        entry("c_000001_000002", "c", where="a.csv:3", split="val"),
    ]
    items, left_out = match(entries, look(tmp_path), "videos")
    assert items == [Item("a.mp4", 0, "train")]
    assert left_out == [
        LeftOut("b.mp4", "empty file", 1, "train"),
        LeftOut("c_000001_000002", "not found (a.csv:3)", 0, "val"),
    ]


def test_what_several_entries_name_is_listed_as_settled(tmp_path):
    tree = look(touch(tmp_path, "a.mp4", "b.mp4", "c.mp4"))
    entries = [
        entry("a", where="t:1"),
        entry("b", where="t:2"),
        entry("c", where="t:3", label=1, class_name="run"),
        entry("c", where="t:4", class_name="jump"),
        entry("a", where="v:1", split="val"),
        entry("a", where="v:2", split="val"),
    ]
    items, left_out = match(entries, tree, "videos")
    assert items == [Item("b.mp4", 0, "train"), Item("a.mp4", 0, "val")]
    both = "annotated as 'run' (t:3) and as 'jump' (t:4): listed as neither"
    assert left_out == [
        LeftOut("a.mp4", "kept in val (v:1) and so taken out of train (t:1)", 0, "train", TWO_LISTS),
        LeftOut("c.mp4", both, 1, "train", TWO_CLASSES),
        LeftOut("c.mp4", both, 0, "train", TWO_CLASSES),
        LeftOut("a.mp4", "named again (v:2): listed once, for v:1", 0, "val", TWICE),
    ]


def test_what_cannot_be_used_is_not_settled(tmp_path):
    touch(tmp_path, "a.mp4")
    tree = look(touch(tmp_path, "b.mp4", content=b""))
    _, left_out = match([entry("a"), entry("b"), entry("b", where="v:2", split="val")], tree, "videos")
    assert [(item.reason, item.split, item.cause) for item in left_out] == [
        ("empty file", "train", ""),
        ("empty file", "val", ""),
    ]


def hair(name, label, split="train"):
    where = f"{name}_test_split1.txt:1"
    return Entry(("v",), name, label, split, where, names_repeat=True)


def test_equal_names_in_two_class_folders_are_two_videos(tmp_path):
    tree = look(touch(tmp_path, "brush_hair/v.avi", "wave/v.avi", "copy/v.avi"))
    items, left_out = match([hair("brush_hair", 0), hair("wave", 1, "val")], tree, "videos")
    assert items == [Item("brush_hair/v.avi", 0, "train"), Item("wave/v.avi", 1, "val")]
    assert [(item.path, item.reason) for item in left_out] == [
        ("copy/v.avi", "wave/v.avi has the same name and is used")
    ]


def test_a_video_of_another_class_does_not_take_the_place_of_a_missing_one(tmp_path):
    tree = look(touch(tmp_path, "wave/v.avi", "wave/w.avi", "run/w.avi"))
    others = [entry("w", class_name="wave"), entry("w", class_name="run", where="r:1", split="val")]
    items, left_out = match([hair("brush_hair", 0), *others], tree, "videos")
    assert [item.path for item in items] == ["wave/w.avi", "run/w.avi"]
    assert [item.reason for item in left_out] == ["not found (brush_hair_test_split1.txt:1)"]
    # Where names are unique, as YouTube's are, the folder may be that of an older list of classes.
    entries = [entry("v", class_name="run"), entry("w", class_name="wave")]
    assert match(entries, tree, "videos")[0][0].path == "wave/v.avi"


def test_videos_without_class_folders_are_found_by_name_alone(tmp_path):
    tree = look(touch(tmp_path, "v.avi"))
    assert match([hair("brush_hair", 0)], tree, "videos")[0] == [Item("v.avi", 0, "train")]
    _, left_out = match(
        [hair("brush_hair", 0), hair("wave", 1), entry("x")], look(touch(tmp_path, "x.avi")), "videos"
    )
    assert {item.cause for item in left_out} == {TWO_CLASSES}


def test_frame_folders_are_matched_with_their_counts(tmp_path):
    tree = look(touch(tmp_path, "7/1.jpg", "7/2.jpg", "8/1.jpg", "8/3.jpg"))
    items, left_out = match([entry("7"), entry("8")], tree, "frames")
    assert items == [Item("7", 0, "train", 2)]
    assert left_out[0].reason.startswith("picture 2 is missing")


def test_nothing_found_shows_both_names(tmp_path):
    with pytest.raises(ValueError) as error:
        match([entry("x_1", "x")], look(touch(tmp_path, "a/b.mp4")), "videos")
    assert "none of the annotated videos (1) can be listed; the first, 'x_1': not found (a.csv:1)" in str(
        error.value
    )
    assert "What is there (1 video file) is named like 'a/b.mp4'" in str(error.value)
