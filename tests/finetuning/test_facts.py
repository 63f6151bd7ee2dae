"""What lists and videos are like, found by looking at some of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.video_writer import write_video
from slowfast.finetuning import facts


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        frames = rng.integers(0, 255, (20 + number, 48, 64, 3), dtype=np.uint8)
        write_video(tmp_path / f"{number}.mp4", frames, 25)
    (tmp_path / "train.csv").write_text("0.mp4,0\n1.mp4,1\n2.mp4,1\n3.mp4,1\n")
    (tmp_path / "classes.txt").write_text("left\nright\n")
    return tmp_path


def keys(folder, **more):
    return {"DATA.PATH_TO_DATA_DIR": folder, "DATA.PATH_PREFIX": folder, **more}


def test_counts_sizes_and_lengths_are_those_of_the_videos(folder):
    found = facts.look(keys(folder))
    assert found == facts.DataFacts(("left", "right"), (1, 3), False, 48, 21, 25.0)
    assert found.num_videos == 4 and found.seconds == pytest.approx(21 / 25)
    (folder / "val.csv").write_text("0.mp4,0\n\n1.mp4,1\n")
    assert facts.look(keys(folder)).num_validated == 2


def test_some_bad_videos_are_passed_over_and_none_good_is_told(folder):
    (folder / "1.mp4").write_bytes(b"none")
    assert facts.look(keys(folder)).short_side == 48
    for number in (0, 2, 3):
        (folder / f"{number}.mp4").unlink()
    with pytest.raises(ValueError, match=r"none of the videos looked at can be read, such as .*\.mp4: "):
        facts.look(keys(folder))


def test_frame_folders_tell_no_rate(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(1, 6):
            Image.new("RGB", (40, 30)).save(tmp_path / name / f"img_{number:05d}.jpg")
    (tmp_path / "train.csv").write_text("a 5 0\nb 5 1\n")
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    found = facts.look(keys(tmp_path, **{"DATA.IMAGE_TEMPLATE": "img_{:05d}.jpg"}))
    assert found == facts.DataFacts(("one", "two"), (1, 1), True, 30, 5, None) and found.seconds is None


def test_lists_under_a_template_are_found_and_missing_ones_named(folder):
    (folder / "train.csv").rename(folder / "hmdb_train.txt")
    assert facts.look(keys(folder, **{"DATA.LABEL_PATH_TEMPLATE": "hmdb_{}.txt"})).num_videos == 4
    with pytest.raises(FileNotFoundError, match=r"train.csv: no such file \(the list of training videos\)"):
        facts.look(keys(folder))


def test_lists_find_their_media_beside_them_also_under_names_with_spaces(folder, tmp_path_factory):
    own = {"DATA.PATH_TO_DATA_DIR": str(folder), "DATA.PATH_PREFIX": str(folder)}
    for name in ("val.csv", "test.csv"):
        (folder / name).write_text("0.mp4,0\n")
    assert facts.keys_of_lists(folder, "") == own
    (folder / "3.mp4").rename(folder / "a clip, the 1st.mp4")
    (folder / "train.csv").write_text("gone.mp4,0\na clip, the 1st.mp4,1\n")
    assert facts.keys_of_lists(folder, "") == own
    whole = tmp_path_factory.mktemp("lists")
    (whole / "classes.txt").write_text("left\nright\n")
    (whole / "train.csv").write_text(f"elsewhere/0.mp4 0\n{folder}/1.mp4 1\n")
    assert facts.keys_of_lists(whole, "")["DATA.PATH_PREFIX"] == str(whole)  # of no effect on a whole path
    (whole / "train.csv").write_text("elsewhere/0.mp4 0\nelsewhere/1.mp4 1\n")
    assert facts.keys_of_lists(whole, "")["DATA.PATH_PREFIX"] == ""


def test_a_recipe_can_be_run_from_any_folder(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = facts.keys_of_lists(Path(folder.name), folder.name)
    assert found["DATA.PATH_TO_DATA_DIR"] == found["DATA.PATH_PREFIX"] == str(folder)


def test_pictures_of_listed_folders_tell_their_names(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(1, 4):
        Image.new("RGB", (40, 30)).save(tmp_path / "a" / f"frame{number:04d}.png")
    (tmp_path / "train.csv").write_text("a 3 0\na 3 1\n")
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    keys = facts.keys_of_lists(tmp_path, "")
    assert keys["DATA.IMAGE_TEMPLATE"] == "frame{:04d}.png" and facts.look(keys).frame_folders


def test_what_has_no_list_is_switched_off(folder):
    keys = facts.keys_of_lists(folder, "")
    assert (keys["TRAIN.EVAL_PERIOD"], keys["TEST.TEST_BEST"], keys["TEST.ENABLE"]) == (0, False, False)
