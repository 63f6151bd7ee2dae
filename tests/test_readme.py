"""What the documents show is what works."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), ROOT / "data_lists" / "README.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
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


def test_class_names_of_kinetics_are_in_the_published_order():
    names = (ROOT / "data_lists" / "k400" / "classes.txt").read_text().splitlines()
    assert len(names) == len(set(names)) == 400
    assert (names[0], names[1], names[341], names[399]) == (
        "riding a bike", "marching", "abseiling", "playing badminton",
    )  # fmt: skip
