"""Exports that are checked before they take their place, carry what a consumer needs, and predict as the model does."""

import json

import numpy as np
import pytest
import torch

import slowfast
from slowfast.cli import main
from slowfast.inference.exporting import checking, onnx_file, safetensors_file, torch_export
from slowfast.inference.exporting import story as story_module
from slowfast.utils import checkpoint

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def classifier(trained_run):
    return slowfast.load(trained_run / "best.pyth", device="cpu")


@pytest.fixture
def export(trained_run, tmp_path):
    def call(*options, out="model.onnx"):
        return main(["export", *map(str, [trained_run / "best.pyth", "--out", tmp_path / out, *options])])

    return call


def videos(debug_data):
    return sorted((debug_data / "clips" / "test").glob("*.mp4"))


def test_onnx_predicts_as_python_does(classifier, debug_data, export, tmp_path, capsys):
    first, second, *_ = videos(debug_data)
    assert (
        export("--to", "onnx", "--with-preprocessing", "--softmax", "--check", first, "--check", second) == 0
    )
    told = capsys.readouterr().out
    assert f"checked on {first}, {second}: the largest difference of probabilities" in told
    assert "ms a clip" in told and "best.pyth" in told and "median of 7 runs" in told
    run = onnx_file.runner(tmp_path / "model.onnx", threads=1)
    for video in videos(debug_data)[::5]:
        views, _ = classifier.views(video)
        found = run(views.clips)[views.rows]
        prediction = classifier.predict(video)
        torch.testing.assert_close(found, classifier.score(views).softmax(-1), rtol=0, atol=1e-5)
        merged = classifier.merge(found.log())
        assert merged.ranking == prediction.ranking
        torch.testing.assert_close(merged.probabilities, prediction.probabilities, rtol=0, atol=1e-5)


def test_a_consumer_needs_nothing_but_the_file(classifier, debug_data, export, tmp_path):
    import onnxruntime

    assert export("--to", "onnx", "--with-preprocessing") == 0
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == list(classifier.class_names)
    assert json.loads(told["preprocessing"])["test_crop_size"] == 32
    assert (
        "clips: uint8 (N, 4, 32, 32, 3), RGB" in told["input"] and told["output"] == "logits: float32 (N, 8)"
    )
    assert slowfast.__version__ == told["slowfast"] and "MODEL_NAME: Uniformer" in told["config"]
    (taken,) = session.get_inputs()
    assert taken.name == "clips" and taken.type == "tensor(uint8)" and taken.shape[1:] == [4, 32, 32, 3]
    assert isinstance(taken.shape[0], str) and session.get_outputs()[0].name == "logits"
    views, _ = classifier.views(videos(debug_data)[0])
    (found,) = session.run(None, {"clips": views.clips.numpy()})
    assert np.allclose(found[views.rows.numpy()], classifier.score(views).numpy(), atol=1e-4)


def test_without_preprocessing_it_takes_what_the_model_takes(classifier, debug_data, export, tmp_path):
    assert export("--to", "torch-export", "--batch", "2", out="model.pt2") == 0
    views, _ = classifier.views(videos(debug_data)[0])
    clips = views.clips[:2]
    clips = clips if len(clips) == 2 else clips.repeat(2, 1, 1, 1, 1)
    program = torch.export.load(tmp_path / "model.pt2").module()
    torch.testing.assert_close(
        program(classifier.model_input(clips).contiguous()), classifier.logits(clips), rtol=0, atol=1e-5
    )
    told = json.loads((tmp_path / "model.pt2.json").read_text())
    assert told["input"].startswith("clips: float32 (2, 3, 4, 32, 32)")
    assert json.loads(told["class_names"]) == list(classifier.class_names)


def test_safetensors_are_a_checkpoint_again(classifier, debug_data, export, tmp_path, capsys, trained_run):
    assert export("--to", "safetensors", out="model.safetensors") == 0
    assert "largest difference of logits from the model is 0.0e+00" in capsys.readouterr().out
    again = slowfast.load(tmp_path / "model.safetensors", device="cpu")
    assert again.class_names == classifier.class_names
    video = videos(debug_data)[3]
    assert torch.equal(again.predict(video).logits, classifier.predict(video).logits)
    weights = checkpoint.load(trained_run / "best.pyth")["model_state"]
    found = safetensors_file.read(tmp_path / "model.safetensors")["model_state"]
    assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("way", ["dynamic", "static"])
def test_int8_tells_what_it_changed(way, classifier, debug_data, export, tmp_path, capsys):
    lists = ["--check-list", debug_data / "test.csv", "--media", debug_data]
    assert export("--to", "onnx", "--softmax", "--int8", way, "--batch", "4", *lists) == 0
    told = capsys.readouterr().out
    assert f"int8 ({way}) on 3 generated clips: the largest difference of probabilities is" in told
    small = tmp_path / "model_int8.onnx"
    assert f"top-1 of {small} on 16 videos:" in told
    right = sum(
        classifier.predict(debug_data / name).ranking[0] == int(label)
        for name, label in (line.split() for line in (debug_data / "test.csv").read_text().splitlines())
    )
    for name in ("the model here", str(tmp_path / "model.onnx")):
        assert f"top-1 of {name} on 16 videos: {right / 16:.1%} ({right})" in told
    assert json.loads(onnx_file.read_metadata(small)["class_names"]) == list(classifier.class_names)
    import onnx

    kinds = {node.op_type for node in onnx.load(small).graph.node}
    assert kinds & {"MatMulInteger", "DynamicQuantizeMatMul", "DequantizeLinear", "DynamicQuantizeLinear"}


def test_a_file_that_differs_is_not_written(export, tmp_path, capsys, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"as it was")
    monkeypatch.setattr(
        story_module.onnx_file,
        "runner",
        lambda path, threads, original=onnx_file.runner: lambda clips: original(path, threads)(clips) + 2e-4,
    )
    assert export("--to", "onnx") == 2
    told = capsys.readouterr().err
    assert "is not written: on 3 generated clips its logits differ from those of the model by 0.0002" in told
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"as it was"


def test_what_is_no_number_is_an_infinite_difference():
    assert checking.difference(torch.zeros(2), torch.tensor([0.0, float("nan")])) == float("inf")
    assert checking.difference(torch.zeros(2), torch.tensor([0.5, -1.0])) == 1.0


@pytest.mark.parametrize(
    ("options", "out", "said"),
    [
        (["--to", "onnx"], "model.pt", "a file of --to onnx ends in .onnx"),
        (["--to", "safetensors", "--softmax"], "a.safetensors", "--softmax: safetensors hold weights"),
        (
            ["--to", "safetensors", "--check-list", "x"],
            "a.safetensors",
            "the weights are the same in safetensors",
        ),
        (["--to", "torch-export", "--int8"], "a.pt2", "write --to onnx, not torch-export"),
        (["--to", "onnx", "--batch", "-1"], "a.onnx", "--batch -1: write a number of clips"),
        (["--to", "onnx", "--media", "x"], "a.onnx", "give the list too"),
        (["--to", "onnx", "--check", "none.mp4"], "a.onnx", "--check none.mp4: no such file; give a video"),
    ],
)
def test_what_cannot_be_done_is_refused(export, tmp_path, capsys, options, out, said):
    assert export(*options, out=out) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_missing_packages_are_asked_for(export, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export("--to", "onnx") == 2
    assert 'pip install "slowfast[onnx]"' in capsys.readouterr().err


def test_lists_of_other_data_sets_or_without_a_readable_video_are_refused(classifier, tmp_path):
    from slowfast.inference.exporting.accuracy import top1

    (tmp_path / "list.csv").write_text("a.mp4,8\n")
    with pytest.raises(ValueError, match="label 8, but the model knows 8 classes"):
        list(top1(classifier, {}, str(tmp_path / "list.csv"), "", False))
    (tmp_path / "list.csv").write_text("a.mp4,7\n")
    with pytest.raises(ValueError, match="none of its 1 video can be read"):
        list(top1(classifier, {}, str(tmp_path / "list.csv"), "", False))


def test_files_that_are_no_safetensors_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        slowfast.load(tmp_path / "none.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"something else")
    with pytest.raises(ValueError, match="cannot be read as a file of safetensors"):
        slowfast.load(tmp_path / "a.safetensors")


def test_the_description_lies_beside_the_program():
    assert torch_export.description_path("a/model.pt2").name == "model.pt2.json"
