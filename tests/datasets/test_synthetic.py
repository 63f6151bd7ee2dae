"""synthetic.py: one class is told from another by motion alone, and the files follow from the settings."""

import dataclasses
import json
import os

import av
import numpy as np
import pytest

from slowfast.datasets import synthetic
from slowfast.datasets.synthetic import CLASS_NAMES, DatasetSettings, draw_scene, render_clip, render_scene

TINY = DatasetSettings(train_clips=2, val_clips=1, test_clips=1, min_size=32, max_size=48, frames=6)
BLACK = np.zeros((2, 2, 3))


def lone_object(scene, *, x: float, y: float):
    """`scene` with one object, its centre at (x, y) in the picture, on a black ground without clutter."""
    one = {field.name: getattr(scene.objects, field.name)[:1] for field in dataclasses.fields(scene.objects)}
    one |= {
        "centre": np.array([[x - scene.width / 2, y - scene.height / 2]]),
        "colour": np.full((1, 2, 3), 200.0),
    }
    none = {field.name: getattr(scene.clutter, field.name)[:0] for field in dataclasses.fields(scene.clutter)}
    return dataclasses.replace(
        scene,
        corners=BLACK,
        objects=synthetic.Objects(**one),
        clutter=synthetic.Objects(**none),
        size_phase=0.0,
    )


def moments(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Mass, centre of mass and angle of the principal axis of every frame."""
    weight = frames[:, 0].astype(np.float64)
    y, x = np.mgrid[: weight.shape[1], : weight.shape[2]]
    mass = weight.sum((1, 2))
    cx, cy = (weight * x).sum((1, 2)) / mass, (weight * y).sum((1, 2)) / mass
    dx, dy = x - cx[:, None, None], y - cy[:, None, None]
    angle = 0.5 * np.arctan2(2 * (weight * dx * dy).sum((1, 2)), (weight * (dx**2 - dy**2)).sum((1, 2)))
    return {"mass": mass, "x": cx, "y": cy, "angle": np.unwrap(angle, period=np.pi)}


@pytest.fixture
def scene():
    return lone_object(draw_scene(np.random.default_rng(3), 96, 96), x=48, y=48)


@pytest.mark.parametrize("label", range(8))
def test_a_lone_object_moves_as_its_class_says(scene, label):
    measured = moments(render_scene(scene, label, 9))
    step = {name: np.diff(values).mean() for name, values in measured.items()}
    sign = 1 if label % 2 == 0 else -1
    turns = CLASS_NAMES[label].startswith("turn")
    # The centre of mass lies beside the centre that an object grows and turns about, so there it wanders a
    # little.
    near = 0.02 if CLASS_NAMES[label].startswith("move") else 1.0
    assert step["x"] == pytest.approx(sign * scene.speed if label in (0, 1) else 0, abs=near)
    assert step["y"] == pytest.approx(sign * scene.speed if label in (2, 3) else 0, abs=near)
    growth = np.diff(np.log(measured["mass"])).mean() / 2
    assert growth == pytest.approx(sign * scene.growth if label in (4, 5) else 0, abs=2e-3)
    # y points down, so a rising angle turns clockwise for the viewer.
    assert step["angle"] == pytest.approx(sign * scene.spin if turns else 0, abs=0.01)


@pytest.mark.parametrize("label", range(8))
def test_the_opposite_class_is_the_reversed_clip(label):
    scene = draw_scene(np.random.default_rng(label), 40, 56)
    backwards = dataclasses.replace(scene, drift=tuple(-value for value in scene.drift))
    np.testing.assert_allclose(
        render_scene(scene, label, 8)[::-1], render_scene(backwards, label ^ 1, 8), atol=0.01, rtol=0
    )


def test_classes_share_the_scene_and_all_but_growth_its_middle_frame():
    scene = draw_scene(np.random.default_rng(5), 40, 56)
    middle = [render_scene(scene, label, 7)[3] for label in range(8)]
    for label in (0, 1, 2, 3, 6, 7):
        np.testing.assert_array_equal(middle[label], middle[0])
    np.testing.assert_array_equal(middle[4], middle[5])


def test_a_frame_at_a_random_time_has_the_same_sizes_in_every_class():
    """The mean share of pixels that differ from an empty scene: the growing classes do not stand out."""
    shares = np.zeros(8)
    for seed in range(60):
        scene = draw_scene(np.random.default_rng(seed), 32, 40)
        empty = dataclasses.replace(scene, drift=(0.0, 0.0), objects=_first(scene.objects, 0))
        for label in range(8):
            frames = render_scene(dataclasses.replace(scene, drift=(0.0, 0.0)), label, 12)
            shares[label] += (np.abs(frames - render_scene(empty, label, 12)).max(1) > 8).mean() / 60
    assert shares.mean() > 0.1
    assert np.ptp(shares) < 0.12 * shares.mean()


def test_a_frame_at_any_time_is_covered_alike_everywhere_in_every_class():
    """No empty corner betrays that the scene has turned or moved."""
    corners = np.zeros(8)
    for seed in range(80):
        scene = draw_scene(np.random.default_rng(seed), 32, 40, num_frames=24)
        scene = dataclasses.replace(scene, drift=(0.0, 0.0), growth=0.0, size_phase=0.0)
        empty = dataclasses.replace(scene, objects=_first(scene.objects, 0))
        still = render_scene(empty, 0, 24)[0]
        for label in range(8):
            covered = np.abs(render_scene(scene, label, 24)[0] - still).max(0) > 8
            corners[label] += (covered[:8, :8].mean() + covered[-8:, -8:].mean()) / 160
    assert corners.mean() > 0.1
    assert np.ptp(corners) < 0.25 * corners.mean()


def test_the_scene_turns_about_the_middle_of_the_picture(scene):
    measured = moments(
        render_scene(lone_object(scene, x=78, y=48), 6, 5)
    )  # to the right of the middle, clockwise
    assert np.diff(measured["y"]).mean() == pytest.approx(30 * scene.spin, rel=0.15)
    assert abs(np.diff(measured["x"]).mean()) < 0.3


def _first(objects, count):
    return synthetic.Objects(
        **{field.name: getattr(objects, field.name)[:count] for field in dataclasses.fields(objects)}
    )


def test_an_object_that_leaves_is_cut_at_the_border(scene):
    frames = render_scene(lone_object(scene, x=-1, y=50), 0, 1)
    assert frames[0, :, :, :10].max() > 100
    assert frames[0, :, :, 60:].max() == 0


def test_rendering_is_a_function_of_label_and_generator():
    first, second = (
        render_clip(6, np.random.default_rng(7), num_frames=5, height=32, width=48) for _ in range(2)
    )
    assert first.dtype == np.uint8 and first.shape == (5, 32, 48, 3)
    np.testing.assert_array_equal(first, second)
    assert (first != render_clip(6, np.random.default_rng(8), num_frames=5, height=32, width=48)).any()


@pytest.mark.parametrize("label", [-1, 8])
def test_unknown_labels_are_refused(label):
    with pytest.raises(ValueError, match="label must be 0..7"):
        render_clip(label, np.random.default_rng(0))


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_data_set_on_disk(tmp_path):
    assert synthetic.write_dataset(tmp_path / "a", TINY, processes=1)
    assert (tmp_path / "a" / "classes.txt").read_text().splitlines() == list(CLASS_NAMES)
    seen = set()
    for split, clips in (("train", 2), ("val", 1), ("test", 1)):
        lines = (tmp_path / "a" / f"{split}.csv").read_text().splitlines()
        labels = [int(line.split(" ")[1]) for line in lines]
        assert sorted(labels) == sorted(list(range(8)) * clips)
        for path in (line.split(" ")[0] for line in lines):
            with av.open(str(tmp_path / "a" / path)) as container:
                assert container.streams.video[0].codec_context.name == "h264"
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert len(frames) == 6 and min(frames[0].shape[:2]) in (32, 48)
            seen.add(frames[0].tobytes())
    assert len(seen) == 32, "every clip is another scene"
    assert synthetic.write_dataset(tmp_path / "b", TINY, processes=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_finished_folder_is_left_alone_and_an_unfinished_one_written_anew(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    synthetic.write_dataset(folder, TINY, processes=1)
    before = contents(folder)
    times = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")}
    assert not synthetic.write_dataset(folder, TINY)
    assert times == {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")}

    marker = json.loads((folder / "synthetic.json").read_text())
    (folder / "synthetic.json").write_text(json.dumps({**marker, "finished": False}))
    (folder / "clips" / "train" / "left_over.mp4").write_bytes(b"half")
    assert synthetic.write_dataset(folder, TINY, processes=1)
    assert contents(folder) == before

    assert synthetic.write_dataset(folder, dataclasses.replace(TINY, seed=1), processes=1)
    assert contents(folder).keys() == before.keys() and contents(folder) != before


def test_an_interruption_leaves_no_finished_marker(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "ProcessPoolExecutor", stop)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write_dataset(tmp_path / "data", TINY)
    assert json.loads((tmp_path / "data" / "synthetic.json").read_text())["finished"] is False
    assert not (tmp_path / "data" / "train.csv").exists()


def test_someone_elses_folder_is_refused(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"dear")
    with pytest.raises(ValueError, match="is not empty and has no synthetic.json"):
        synthetic.write_dataset(tmp_path, TINY)
    assert (tmp_path / "holiday.mp4").read_bytes() == b"dear"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_clips": 0}, "at least one clip"),
        ({"min_size": 96, "max_size": 64}, "SHORTEST..LONGEST"),
        ({"min_size": 50, "max_size": 60}, "multiple of 16 in between"),
        ({"frames": 0}, "--frames must be 1 or more"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        DatasetSettings(**settings)


def test_command_line(tmp_path, capsys):
    few = ["--train-clips", "1", "--val-clips", "1", "--test-clips", "1", "--size", "32..32", "--frames", "2"]
    assert synthetic.main([str(tmp_path / "data"), *few]) == 0
    assert "8 train, 8 val, 8 test clips written" in capsys.readouterr().out
    assert synthetic.main([str(tmp_path / "data"), *few]) == 0
    assert "are there already" in capsys.readouterr().out
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert synthetic.main([str(tmp_path / "other"), *few]) == 2
    assert "error:" in capsys.readouterr().err
