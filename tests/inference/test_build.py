"""A checkpoint alone predicts a video as the test of its run does; what it lacks is told."""

import csv
from io import BytesIO

import pytest
import torch

import slowfast
from slowfast.datasets.frames import UnreadableVideo
from slowfast.utils import checkpoint


@pytest.fixture(scope="module")
def classifier(trained_run):
    return slowfast.load(trained_run / "best.pyth", device="cpu")


def scored(run):
    """Rows of predictions.csv."""
    with open(run / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_videos_get_the_scores_that_the_test_of_the_run_gave(trained_run, debug_data, classifier):
    rows = scored(trained_run)
    assert len(rows) == 16
    for row in rows:
        prediction = classifier.predict(debug_data / row["path"])
        (name, probability), *_ = prediction.top()
        assert name == row["top1_name"] and prediction.num_views == 6
        assert probability == pytest.approx(float(row["probability"]), abs=1e-5)
        assert [name for name, _ in prediction.top(5)] == [row[f"top{rank}_name"] for rank in range(1, 6)]


def test_bytes_and_files_are_videos_too(debug_data, classifier, trained_run):
    path = debug_data / scored(trained_run)[0]["path"]
    expected = classifier.predict(path).logits
    assert torch.equal(classifier.predict(path.read_bytes()).logits, expected)
    assert torch.equal(classifier.predict(BytesIO(path.read_bytes())).logits, expected)


def test_settings_may_be_changed(trained_run, debug_data, classifier):
    path = debug_data / scored(trained_run)[0]["path"]
    single = slowfast.load(
        trained_run / "best.pyth",
        device="cpu",
        opts=["TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.NUM_SPATIAL_CROPS", 1],
    )
    assert single.predict(path).num_views == 1 and classifier.predict(path).num_views == 6


def test_probabilities_are_of_all_classes(debug_data, classifier, trained_run):
    prediction = classifier.predict(debug_data / scored(trained_run)[0]["path"])
    assert prediction.probabilities.sum() == pytest.approx(1.0, abs=1e-6)
    assert sorted(prediction.ranking) == list(range(8)) and len(classifier.class_names) == 8
    assert prediction.top(1)[0][0] in repr(prediction)


def test_the_default_stream_is_left_as_it_was(trained_run):
    before = torch.get_rng_state()
    slowfast.load(trained_run / "best.pyth", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unreadable_video_is_told_with_its_reason(classifier, tmp_path):
    with pytest.raises(UnreadableVideo, match="no such file"):
        classifier.predict(tmp_path / "none.mp4")


def test_weights_alone_need_their_recipe(trained_run, tmp_path, debug_data, classifier):
    weights = tmp_path / "weights.pyth"
    checkpoint.save({"model_state": checkpoint.load(trained_run / "best.pyth")["model_state"]}, weights)
    with pytest.raises(ValueError, match="give their recipe besides"):
        slowfast.load(weights)
    found = slowfast.load(weights, recipe=trained_run / "config.yaml", device="cpu")
    assert found.class_names == tuple(f"class {number}" for number in range(8))
    path = debug_data / scored(trained_run)[0]["path"]
    assert torch.equal(found.predict(path).logits, classifier.predict(path).logits)
    names = tmp_path / "classes.txt"
    names.write_text("".join(f"name {number}\n" for number in range(8)))
    options = ["MODEL.CLASS_NAMES_PATH", str(names)]
    found = slowfast.load(weights, recipe=trained_run / "config.yaml", device="cpu", opts=options)
    assert found.class_names[7] == "name 7"
    names.write_text("one\ntwo\n")
    with pytest.raises(ValueError, match="2 class names for weights of 8 classes"):
        slowfast.load(weights, recipe=trained_run / "config.yaml", device="cpu", opts=options)


def test_weights_of_a_recipe_of_ours_have_the_names_of_its_data_set(trained_run, tmp_path):
    weights, recipe = tmp_path / "weights.pyth", tmp_path / "configs" / "k8" / "tiny.yaml"
    checkpoint.save({"model_state": checkpoint.load(trained_run / "best.pyth")["model_state"]}, weights)
    recipe.parent.mkdir(parents=True)
    recipe.write_text((trained_run / "config.yaml").read_text())
    names = tmp_path / "data_lists" / "k8" / "classes.txt"
    names.parent.mkdir(parents=True)
    names.write_text("".join(f"name {number}\n" for number in range(8)))
    assert slowfast.load(weights, recipe=recipe, device="cpu").class_names[7] == "name 7"
    names.write_text("one\ntwo\n")  # the weights are of other classes than the data set has
    assert slowfast.load(weights, recipe=recipe, device="cpu").class_names[7] == "class 7"


@pytest.mark.parametrize(
    ("name", "said"), [("gpu", "write cpu, cuda or cuda:N"), ("cuda:99", "CUDA devices here: write cpu")]
)
def test_unknown_devices_are_refused(trained_run, name, said):
    with pytest.raises(ValueError, match=said):
        slowfast.load(trained_run / "best.pyth", device=name)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "file.pyth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        slowfast.load(tmp_path / "file.pyth")
    for name in ("model.onnx", "model.pt2"):
        with pytest.raises(ValueError, match=f"{name} was exported for other programs, which run it: give the check"):
            slowfast.load(tmp_path / name)


def test_a_class_is_found_by_name(classifier):
    last = classifier.class_names[-1]
    assert classifier.numbers_of([last]) == [7]
    with pytest.raises(ValueError, match="'nonsense' is none of the 8 classes of this model; it knows move right, "):
        classifier.numbers_of(["nonsense"])
    with pytest.raises(ValueError, match="near it are move right"):
        classifier.numbers_of(["move_right"])
