"""Weights with class names, loaded for a test, as a start and to go on: what is put in order and what is refused."""

import csv
import json
import shutil

import pytest
import torch

from slowfast.datasets.synthetic import CLASS_NAMES
from slowfast.engine import weights
from slowfast.engine.test import test as run_test
from slowfast.engine.train import train
from slowfast.models.build import build_model
from slowfast.utils import checkpoint

NAMES = list(CLASS_NAMES)
SHUFFLED = (3, 0, 7, 1, 6, 2, 5, 4)


@pytest.fixture
def model(debug_cfg):
    return build_model(debug_cfg())


@pytest.fixture
def saved(model, tmp_path):
    """(path of weights of a random model, a function from class names to the same file with them)."""
    path = tmp_path / "weights.pyth"

    def save(names, **more):
        payload = {"model_state": model.state_dict(), **more}
        checkpoint.save(payload | ({} if names is None else {"class_names": list(names)}), path)
        return path

    return save


def load(function, path, model, names=NAMES, **more):
    return function(path, model, names=names, num_classes=8, **more)


def test_a_head_in_another_order_is_put_in_the_order_of_the_data(saved, model):
    path = saved([NAMES[number] for number in SHUFFLED])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report, match, _ = load(weights.load_for_test, path, model)
    after = model.state_dict()
    for row, number in enumerate(SHUFFLED):  # row `row` of the file is class `number` of the data
        assert torch.equal(after["head.weight"][number], before["head.weight"][row])
        assert torch.equal(after["head.bias"][number], before["head.bias"][row])
    assert all(
        torch.equal(after[name], value) for name, value in before.items() if not name.startswith("head.")
    )
    assert match.kind == "reordered" and not report.replaced
    assert "were put in the order of the data" in weights.describe(report, match)


def test_a_head_with_more_rows_is_cut_only_where_told(debug_cfg, tmp_path):
    wide = build_model(debug_cfg("MODEL.NUM_CLASSES", "11", "DATA.CLASS_NAMES_PATH", ""))
    path = tmp_path / "wide.pyth"
    checkpoint.save({"model_state": wide.state_dict()}, path)
    model = build_model(debug_cfg())
    with pytest.raises(ValueError, match="the head has 11 rows, the data 8 classes.*MODEL.SLICE_HEAD True"):
        load(weights.load_for_test, path, model)
    report, _, _ = load(weights.load_for_test, path, model, slice_head=True)
    assert torch.equal(model.head.weight, wide.head.weight[:8])
    assert torch.equal(model.head.bias, wide.head.bias[:8]) and not report.replaced


def test_other_classes_are_refused_for_a_test_and_leave_the_head_alone_for_a_start(saved, model):
    path = saved(["jump", *NAMES[1:]])
    torch.nn.init.constant_(model.head.bias, 7.0)
    with pytest.raises(
        ValueError, match=r"(?s)0: 'jump' in the weights, 'move right' in the data.*own classes"
    ):
        load(weights.load_for_test, path, model)
    report, match = load(weights.load_initial, path, model)
    assert [entry.name for entry in report.replaced] == ["head.weight", "head.bias"]
    assert model.head.bias.tolist() == [7.0] * 8
    assert "The head stays as a new model has it" in weights.describe(report, match)


def test_names_in_a_file_stand_for_those_the_weights_lack(saved, model, tmp_path):
    path, listed = saved(None), tmp_path / "theirs.txt"
    listed.write_text("\n".join(reversed(NAMES)))
    assert load(weights.load_for_test, path, model)[1].kind == "unknown"
    _, match, _ = load(weights.load_for_test, path, model, names_path=str(listed))
    assert match.kind == "reordered" and match.order == tuple(range(7, -1, -1))
    path = saved(NAMES)  # its own names count
    assert load(weights.load_for_test, path, model, names_path=str(listed))[1].kind == "same"


def test_a_run_goes_on_with_its_own_order_of_classes_only():
    payload = {"class_names": NAMES}
    weights.check_resumed("run.pyth", payload, NAMES, 8)
    weights.check_resumed("run.pyth", payload, None, 8)
    for names in (NAMES[::-1], ["jump", *NAMES[1:]]):
        with pytest.raises(ValueError, match=r"(?s)run.pyth cannot be resumed.*TRAIN.INIT run.pyth"):
            weights.check_resumed("run.pyth", payload, names, 8)


@pytest.fixture
def shuffled_lists(debug_data, tmp_path):
    """The lists of the debug data with the classes numbered in another order."""
    folder = tmp_path / "shuffled"
    shutil.copytree(debug_data, folder, ignore=shutil.ignore_patterns("clips"))
    names = (debug_data / "classes.txt").read_text().splitlines()
    (folder / "classes.txt").write_text("\n".join(names[number] for number in SHUFFLED) + "\n")
    for split in ("train", "val", "test"):
        lines = [line.rsplit(" ", 1) for line in (debug_data / f"{split}.csv").read_text().splitlines()]
        text = "".join(f"{path} {SHUFFLED.index(int(label))}\n" for path, label in lines)
        (folder / f"{split}.csv").write_text(text)
    return folder


def predictions(folder):
    """path → best two names, probability of the first."""
    with open(folder / "predictions.csv", newline="") as file:
        return {
            row["path"]: (row["top1_name"], row["top2_name"], float(row["top1_prob"]))
            for row in csv.DictReader(file)
        }


def test_shuffled_classes_score_the_same_predictions_by_name(
    debug_cfg, debug_data, shuffled_lists, model, saved, tmp_path
):
    model.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.head.weight.mul_(50)  # no two classes score alike but for rounding, which follows the order of rows
    names = (debug_data / "classes.txt").read_text().splitlines()
    path = str(saved(names))
    words = ["TEST.CHECKPOINT_FILE_PATH", path, "OUTPUT_DIR"]
    plain = run_test(debug_cfg(*words, str(tmp_path / "plain")))
    moved = run_test(debug_cfg(*words, str(tmp_path / "moved"), "DATA.PATH_TO_DATA_DIR", str(shuffled_lists)))
    scored, again = predictions(tmp_path / "plain"), predictions(tmp_path / "moved")
    assert scored.keys() == again.keys() and len({best for best, *_ in scored.values()}) > 1
    for path, (*names, probability) in scored.items():
        assert [*names, pytest.approx(probability, abs=2e-6)] == list(again[path])
    assert plain["video"] == moved["video"]
    assert plain["class_order"]["kind"] == "same" and moved["class_order"]["kind"] == "reordered"
    assert (
        json.loads((tmp_path / "moved" / "results.json").read_text())["class_order"] == moved["class_order"]
    )
    assert "were put in the order of the data" in (tmp_path / "moved" / "log.txt").read_text()


def test_training_refuses_to_go_on_and_starts_anew_in_order(debug_cfg, shuffled_lists, tmp_path):
    short = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0"]
    first = train(debug_cfg(*short))["checkpoint"]
    moved = [*short, "DATA.PATH_TO_DATA_DIR", str(shuffled_lists), "OUTPUT_DIR", str(tmp_path / "second")]
    with pytest.raises(ValueError, match="cannot be resumed"):
        train(debug_cfg(*moved, "TRAIN.RESUME", first))
    train(debug_cfg(*moved, "TRAIN.INIT", first))
    assert "were put in the order of the data" in (tmp_path / "second" / "log.txt").read_text()
