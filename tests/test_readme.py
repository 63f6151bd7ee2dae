"""What the documents show is what works."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets.video_writer import write_video

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "data_lists").rglob("README.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(document):
    assert "@@" not in document.read_text()


def test_the_python_example_runs(monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(ROOT)
    names = {}
    exec(block, names)
    cfg = names["cfg"]
    assert cfg.is_frozen() and not names["get_cfg"]().is_frozen()
    with torch.inference_mode():
        logits = names["model"](torch.zeros(1, 3, cfg.DATA.NUM_FRAMES, 32, 32))
    assert logits.shape == (1, cfg.MODEL.NUM_CLASSES)
    assert callable(names["train"]) and callable(names["test"]) and callable(names["build_loader"])


def test_every_key_the_readme_names_exists():
    from slowfast.config import get_cfg

    text = (ROOT / "README.md").read_text()
    for section, key in set(re.findall(r"\b([A-Z_]+)\.([A-Z_]{3,})\b", text)):
        if section in get_cfg():
            assert key in get_cfg()[section], f"{section}.{key}"


def test_own_videos_in_the_two_commands_of_the_readme(tmp_path):
    """As they stand there, but for the size of the model and the device."""
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```\n(python tools/prepare_data.py folders.*?)```", text, re.DOTALL)
    prepare, train = (shlex.split(line) for line in block.replace("\\\n", " ").splitlines() if line.strip())
    rng = np.random.default_rng(0)
    for label in range(12):
        for number in range(6):
            path = tmp_path / "my_videos" / f"class {label}" / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, rng.integers(0, 256, (8, 48, 64, 3), dtype=np.uint8), 25)
    smaller = {
        "NUM_GPUS": 0, "TRAIN.BATCH_SIZE": 8, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_EPOCHS": 0, "TEST.BATCH_SIZE": 8,
        "UNIFORMER.DEPTH": "[1,1,1,1]", "UNIFORMER.EMBED_DIM": "[8,8,16,16]", "UNIFORMER.HEAD_DIM": 8,
        "DATA.TRAIN_CROP_SIZE": 32, "DATA.TEST_CROP_SIZE": 32, "DATA_LOADER.NUM_WORKERS": 0,
    }  # fmt: skip
    train += [str(word) for pair in smaller.items() for word in pair]
    for words in (prepare, train):
        words = [
            sys.executable,
            *(str(ROOT / word) if word.startswith(("tools/", "configs/")) else word for word in words[1:]),
        ]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs" / "mine" / "results.json").read_text())
    assert results["num_scored"] == results["num_total"] >= 12 and results["views"] == "8x1x4"


def test_a_model_for_own_classes_in_the_commands_of_the_readme(tmp_path):
    """Trained, predicted with, explained and exported as it stands there, but in one epoch."""
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```\n(python tools/finetune.py.*?)```", text, re.DOTALL)
    lines = [shlex.split(line) for line in block.splitlines() if line.strip()]
    names = ("finetune", "predict", "explain", "export")
    assert [words[1] for words in lines] == [f"tools/{name}.py" for name in names]
    rng = np.random.default_rng(0)
    for label in range(3):
        for number in range(6):
            path = tmp_path / "my_videos" / f"class {label}" / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, rng.integers(0, 256, (8, 48, 64, 3), dtype=np.uint8), 25)
    write_video(tmp_path / "a_new_video.mp4", rng.integers(0, 256, (8, 48, 64, 3), dtype=np.uint8), 25)
    lines[0] += ["--epochs", "1", "--gpus", "0", "NUM_THREADS", "1"]
    printed = []
    for words in lines:
        command = [sys.executable, str(ROOT / words[1]), *words[2:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert "slowfast predict" in printed[0] and "class" in printed[1]
    run = tmp_path / "runs" / "mine"
    assert (run / "report.html").exists() and (run / "model.onnx").exists()
    assert (tmp_path / "explained" / "map.png").exists()


def test_class_names_of_kinetics_are_in_the_published_order():
    names = (ROOT / "data_lists" / "k400" / "classes.txt").read_text().splitlines()
    assert len(names) == len(set(names)) == 400
    assert (names[0], names[1], names[341], names[399]) == (
        "riding a bike", "marching", "abseiling", "playing badminton",
    )  # fmt: skip
