"""Folders of image files: the frames asked for, upright and in RGB, and what is said of folders that are wrong."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.frame_folders import open_frame_folder
from slowfast.datasets.frames import UnreadableVideo

TEMPLATE = "img_{:05d}.png"


def picture(number, height=6, width=8):
    """uint8 (height, width, 3) whose red tells the number of the frame, green the row and blue the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, 10 * number), rows, columns], axis=2).astype(np.uint8)


def write_folder(folder, numbers, template=TEMPLATE, **size):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(picture(number, **size)).save(folder / template.format(number))
    return folder


def test_frame_n_is_file_n_plus_one_in_rgb(tmp_path):
    folder = write_folder(tmp_path / "a {video} with 100%", range(1, 6))  # the template fills the file name alone
    with open_frame_folder(folder, 5, TEMPLATE) as reader:
        assert (reader.num_frames, reader.fps, reader.damage) == (5, None, "")
        frames = reader.read([4, 0, 2, 2])
    assert frames.dtype == np.uint8 and frames.shape == (4, 6, 8, 3)
    assert frames[:, 0, 0, 0].tolist() == [50, 10, 30, 30]
    assert np.array_equal(frames[0], picture(5))


def test_a_frame_asked_for_twice_is_decoded_once(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "video", range(1, 4))
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda name: opened.append(name) or original(name))
    open_frame_folder(folder, 3, TEMPLATE).read([2, 0, 2, 2, 0])
    assert len(opened) == 2


def test_orientation_is_applied_and_other_modes_become_rgb(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    folder = tmp_path / "video"
    folder.mkdir()
    Image.fromarray(picture(3)).save(folder / "img_00001.png", exif=exif)
    turned = open_frame_folder(folder, 1, TEMPLATE).read([0])[0]
    assert np.array_equal(turned, np.rot90(picture(3), k=-1))
    for mode in ("L", "RGBA", "P"):
        Image.fromarray(picture(3)).convert(mode).save(folder / "img_00001.png")
        assert open_frame_folder(folder, 1, TEMPLATE).read([0]).shape == (1, 6, 8, 3)


def wrong(folder, num_frames, indices=(0,), template=TEMPLATE):
    with pytest.raises(UnreadableVideo) as caught:
        open_frame_folder(folder, num_frames, template).read(indices)
    return str(caught.value)


def test_a_missing_folder(tmp_path):
    assert wrong(tmp_path / "none", 3) == "no such folder"
    (tmp_path / "file").touch()
    assert wrong(tmp_path / "file", 3) == "a file, not a folder of frames"


def test_fewer_frames_than_listed_is_found_whichever_frames_are_asked_for(tmp_path):
    folder = write_folder(tmp_path / "video", range(1, 8))
    said = "img_00008.png is missing: the list says 9 frames, the folder holds 7 of them"
    assert wrong(folder, 9, [0, 1]) == wrong(folder, 9, [7, 8]) == said
    assert len(open_frame_folder(folder, 5, TEMPLATE).read([0, 4])) == 2  # more frames than listed: as published


def test_a_list_may_claim_more_frames_than_memory_can_number(tmp_path):
    folder = write_folder(tmp_path / "video", range(1, 4))
    (folder / "img_٠٠٠٠٤.png").touch()  # digits, but not those that the template writes
    said = "img_00004.png is missing: the list says 2147483647 frames, the folder holds 3 of them"
    assert wrong(folder, 2**31 - 1) == said
    names = write_folder(tmp_path / "other", range(2), "1{:02d}.png")
    assert wrong(names, 2, template="1{:02d}.png").startswith("102.png is missing: files are numbered from 0")


def test_gaps_in_the_numbering(tmp_path):
    folder = write_folder(tmp_path / "video", [1, 2, 4, 5, 6])
    said = "gaps in the numbering, the first at img_00003.png: the list says 6 frames, the folder holds 5 of them"
    assert wrong(folder, 6, [2]) == said
    assert len(open_frame_folder(folder, 6, TEMPLATE).read([0, 1, 3])) == 3


def test_numbering_from_zero(tmp_path):
    folder = write_folder(tmp_path / "video", range(5))
    assert wrong(folder, 5) == (
        "img_00005.png is missing: files are numbered from 0 (img_00000.png), and the first must be number 1"
    )


@pytest.mark.parametrize(
    ("template", "fitting"),
    [
        ("{:05d}.png", "{:05d}.png"),
        ("img_{:05d}.jpg", "img_{:05d}.jpg"),
        ("v2_frame-{:06d}.png", "v2_frame-{:06d}.png"),
        ("{}.png", "{}.png"),
    ],
)
def test_a_wrong_template_names_the_one_that_fits(tmp_path, template, fitting):
    folder = write_folder(tmp_path / "video", range(1, 4), template)
    said = wrong(folder, 3, template="image_{:05d}.jpg")
    assert said == (
        f"no frame image_00003.jpg in the folder: it holds 3 entries such as {template.format(1)}, "
        f"for which DATA.IMAGE_TEMPLATE is {fitting}"
    )


def test_a_folder_with_something_else_in_it(tmp_path):
    assert wrong(tmp_path, 3) == "no frame img_00003.png in the folder: it is empty"
    (tmp_path / "notes.txt").touch()
    assert wrong(tmp_path, 3).endswith("it holds 1 entries such as notes.txt")


def test_frames_of_mixed_size(tmp_path):
    folder = write_folder(tmp_path / "video", range(1, 4))
    write_folder(folder, [3], height=4)
    assert "frames of mixed size: img_00001.png is 8x6, img_00003.png is 8x4" in wrong(folder, 3, [0, 1, 2])


@pytest.mark.parametrize("content", ["empty", "text", "cut"])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, content):
    folder = write_folder(tmp_path / "video", range(1, 4), height=60, width=80)
    file = folder / "img_00002.png"
    file.write_bytes({"empty": b"", "text": b"no image", "cut": file.read_bytes()[:-60]}[content])
    said = wrong(folder, 3, [0, 1, 2])
    assert said.startswith("img_00002.png cannot be decoded (") and str(tmp_path) not in said


def checked(folder, num_frames, template=TEMPLATE):
    """What a check of the folder says, or ""."""
    try:
        open_frame_folder(folder, num_frames, template).check()
    except UnreadableVideo as error:
        return str(error)
    return ""


@pytest.mark.parametrize("template", [TEMPLATE, "{:03d}.jpg", "{:03d}.bmp"])
@pytest.mark.parametrize("num_frames", [1, 2, 9])
def test_a_check_finds_nothing_in_whole_folders(tmp_path, template, num_frames):
    folder = write_folder(tmp_path / "video", range(1, num_frames + 1), template)
    assert checked(folder, num_frames, template) == ""


@pytest.mark.parametrize("template", [TEMPLATE, "{:03d}.jpg"])
@pytest.mark.parametrize("number", [1, 2, 5, 8, 9])  # first, middle and last, and between
@pytest.mark.parametrize("content", ["empty", "text", "cut", "small"])
def test_a_check_finds_every_frame_that_a_read_would_refuse(tmp_path, template, number, content):
    folder = write_folder(tmp_path / "video", range(1, 10), template, height=60, width=80)
    file = folder / template.format(number)
    if content == "small":
        write_folder(folder, [number], template, height=40, width=80)
        expected = f"{file.name} is 80x40"
    else:
        file.write_bytes({"empty": b"", "text": b"no image", "cut": file.read_bytes()[:-60]}[content])
        expected = f"{file.name} cannot be decoded ({'empty file' if content == 'empty' else ''}"
        assert checked(folder, 9, template) == wrong(folder, 9, range(9), template)
    assert expected in checked(folder, 9, template)


def test_a_check_goes_by_the_size_of_upright_frames(tmp_path):
    folder = write_folder(tmp_path / "video", range(1, 10), "{:03d}.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(3, height=8, width=6)).save(folder / "003.jpg", exif=exif)
    assert checked(folder, 9, "{:03d}.jpg") == ""  # stored as 6x8, shown as 8x6
    Image.fromarray(picture(3)).save(folder / "003.jpg", exif=exif)
    assert "001.jpg is 8x6, 003.jpg is 6x8" in checked(folder, 9, "{:03d}.jpg")


def test_a_check_decodes_three_frames_of_a_whole_folder(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "video", range(1, 10), "{:03d}.jpg")
    reader, decoded = open_frame_folder(folder, 9, "{:03d}.jpg"), []
    original = reader._picture
    monkeypatch.setattr(reader, "_picture", lambda number: decoded.append(number) or original(number))
    reader.check()
    assert decoded == [0, 4, 8]


def test_importing_it_needs_no_torch():
    check = "import sys, slowfast.datasets.frame_folders; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
