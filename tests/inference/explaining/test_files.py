"""Files of an explanation hold what they say."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.frames import open_video
from slowfast.datasets.video_writer import write_video
from slowfast.inference.explaining.explanation import explained
from slowfast.inference.explaining.files import film_rate, kept_sheet, relation_sheet, save


@pytest.fixture
def explanation(classifier, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.mp4"
    write_video(path, rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8), 10)
    return explained(classifier, path)


def test_all_files_are_written_and_only_they(explanation, tmp_path):
    files = save(explanation, tmp_path / "out")
    names = ["map.png", "relations.png", *(["kept.png"] if explanation.kept else []), "map.mp4", "maps.npz"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names)
    for name in names:
        if name.endswith(".png"):
            columns = 4 if name == "map.png" else 2  # frames, or times of tokens
            assert Image.open(tmp_path / "out" / name).width == 116 + columns * (192 + 6)
    first = (tmp_path / "out" / "maps.npz").read_bytes()
    save(explanation, tmp_path / "out")  # in place of the old ones
    assert (tmp_path / "out" / "maps.npz").read_bytes() == first


def test_the_numbers_are_those_of_the_maps(explanation, tmp_path):
    save(explanation, tmp_path)
    held = np.load(tmp_path / "maps.npz")
    values = explanation.class_map.values.numpy()
    assert held["map"].dtype == np.float16 and held["map"].shape == values.shape
    np.testing.assert_allclose(held["map"] * held["map_scale"], values, atol=1e-3 * np.abs(values).max())
    assert str(held["class_name"]) == explanation.class_name and str(held["block"]) == "blocks2.0"
    assert held["frame_numbers"].tolist() == explanation.view.frame_numbers.tolist()
    assert held["times_seconds"] == pytest.approx(held["frame_numbers"] / 10)
    assert held["token_frames"].tolist() == held["frame_numbers"][::2].tolist()
    assert (int(held["token_patch"]), held["crop"].tolist()) == (8, [0, 0, 64, 64])
    for relation in explanation.relations:
        np.testing.assert_allclose(held[f"relation_{relation.block}"], relation.weights, atol=1e-3)
        assert tuple(held[f"relation_{relation.block}_token"]) == relation.token
    for name, (kept, _) in explanation.kept.items():
        assert (held[f"kept_{name}"] == kept.numpy()).all()


def test_the_film_has_the_frames_of_the_clip_at_their_pace(explanation, tmp_path):
    save(explanation, tmp_path)
    with open_video(tmp_path / "map.mp4") as film:
        assert film.num_frames == 4 and (film.height, film.width) == (320 + 44, 320)
        first, *_, last = explanation.view.frame_numbers.tolist()
        assert last - first == 7  # of 10 a second, in three steps
        assert film.fps == pytest.approx(30 / 7)


@pytest.mark.parametrize(
    ("numbers", "fps", "rate"),
    [
        ([0, 4, 8], 30, 7.5),
        ([8, 4, 0], 30, 7.5),
        ([3, 3, 3], 25, 25),
        ([0, 100], 25, 1),
        ([0, 1], 240, 60),
        ([5], 25, 25),
    ],
)
def test_a_film_lasts_as_long_as_what_it_shows(numbers, fps, rate):
    assert film_rate(np.array(numbers), fps) == pytest.approx(rate)


def test_the_token_is_framed_where_it_lies(explanation):
    relation = explanation.relations[1]
    alone = replace(explanation, relations=[relation])
    pixels = np.asarray(relation_sheet(alone))
    y, x = np.nonzero((pixels == (90, 255, 90)).all(axis=-1))
    left, top, right, bottom = relation.grid.box(*relation.token[1:])
    across, down = 116 + relation.token[0] * 198, 6 + 3 * 22  # frames of 64 pixels are shown in 192
    assert (x.min(), y.min()) == pytest.approx((across + 3 * left, down + 3 * top), abs=1)
    assert (x.max(), y.max()) == pytest.approx((across + 3 * right - 1, down + 3 * bottom - 1), abs=1)


def test_what_a_block_does_not_keep_is_dark(wrap, tiny, clip, tmp_path):
    path = tmp_path / "white.mp4"
    write_video(path, np.full((20, 64, 64, 3), 255, dtype=np.uint8), 10)
    found = explained(wrap(tiny("light")), path)
    rows = np.asarray(kept_sheet(found))[6 + 3 * 22 :, 116:, 0].astype(int)
    kept = sum(float(marks.float().mean()) for marks, _ in found.kept.values()) / len(found.kept)
    assert ((rows > 55) & (rows < 70)).sum() / (3 * 2 * 192**2) == pytest.approx(1 - kept, abs=0.02)
