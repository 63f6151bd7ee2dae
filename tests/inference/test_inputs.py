"""What files, folders and lists on the command line mean."""

import os

import pytest
from PIL import Image

from slowfast.datasets.checking.sources import FolderSource, LostSource
from slowfast.inference.inputs import find_videos


def names(sources, media=""):
    return [video.name for video in find_videos([str(source) for source in sources], media)]


@pytest.fixture
def tree(tmp_path):
    """videos/{b.MP4, a.avi, deep/c.webm, deep/poster.png, .hidden.mp4, notes.txt}, frames/{1..3}."""
    videos = tmp_path / "videos"
    for name in ("b.MP4", "a.avi", "deep/c.webm", "deep/poster.png", ".hidden.mp4", "notes.txt"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"x")
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (8, 8)).save(frames / f"img_{number:03d}.jpg")
    return tmp_path


def test_a_folder_is_searched_to_the_bottom(tree):
    videos = tree / "videos"
    assert names([videos]) == [str(videos / name) for name in ("a.avi", "b.MP4", "deep/c.webm")]
    assert all(video.name == video.media for video in find_videos([str(videos)]))


def test_a_folder_of_frames_is_one_video(tree):
    (only,) = find_videos([str(tree / "frames")])
    assert only.media == FolderSource(str(tree / "frames"), 3, "img_{:03d}.jpg")
    assert names([tree]) == [
        str(tree / name) for name in ("frames", "videos/a.avi", "videos/b.MP4", "videos/deep/c.webm")
    ]


def test_pictures_that_are_no_frames_are_told(tree):
    (tree / "frames" / "img_002.jpg").unlink()
    (only,) = find_videos([str(tree / "frames")])
    assert isinstance(only.media, LostSource) and "picture 2 is missing" in only.media.reason


def test_each_is_there_once_in_the_order_given(tree):
    first = tree / "videos" / "b.MP4"
    assert names([first, tree / "videos", first])[:2] == [str(first), str(tree / "videos" / "a.avi")]
    assert len(names([first, tree / "videos", first])) == 3


@pytest.mark.parametrize(
    "lines", ["b.MP4,0\ndeep/c.webm,11\n", "b.MP4 0\ndeep/c.webm 1;3\n", "\ufeffb.MP4\r\ndeep/c.webm\r\n"]
)
def test_lists_with_and_without_labels(tree, lines):
    path = tree / "list.csv"
    path.write_text(lines, encoding="utf-8")
    assert names([path], str(tree / "videos")) == ["b.MP4", "deep/c.webm"]


def test_a_list_of_frame_folders(tree):
    path = tree / "list.txt"
    path.write_text("frames 3 7\n")
    (found,) = find_videos([str(path)], str(tree))
    assert found.name == "frames" and found.media == FolderSource(str(tree / "frames"), 3, "img_{:03d}.jpg")
    path.write_text("frames\nvideos\nnowhere\n")
    frames, videos, nowhere = find_videos([str(path)], str(tree))
    assert frames.media == found.media and nowhere.media == os.path.join(str(tree), "nowhere")
    assert isinstance(videos.media, LostSource) and "a folder of 3 videos: list them" in videos.media.reason


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("none.mp4", "no such file or folder; give videos, folders of videos, or lists"),
        ("rtsp://camera/1", "has no end; add --live to watch it"),
        ("videos/deep/poster.png", "a picture, not a video; for frames of a video give the folder"),
        ("empty", "holds no video; videos end in"),
        ("words", r"holds no video \(but 1 .doc\); videos end in"),
        ("lost.txt", "none of the 2 listed is there, the first is a.mp4; say with --media"),
        ("blank.txt", "no videos in this list; write a path a line"),
    ],
)
def test_what_is_no_video_is_refused(tree, monkeypatch, source, said):
    monkeypatch.chdir(tree)
    for name in ("empty", "words"):
        (tree / name).mkdir()
    (tree / "words" / "a.doc").write_text("x")
    (tree / "lost.txt").write_text("a.mp4\nb.mp4\n")
    (tree / "blank.txt").write_text("\n\n")
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        find_videos([source])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name there")
def test_a_pipe_needs_live(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="add --live"):
        find_videos([str(tmp_path / "pipe")])
