"""A list of a million videos: what a process keeps of it, and what its workers add."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEBUG_RECIPE = Path(__file__).resolve().parents[1] / "configs" / "debug" / "uniformer_debug.yaml"

ROWS = 1_000_000
ALLOWED_MB = 250  # above what the imports take, at the highest

START = """
import json, resource, sys
from slowfast.config import load_cfg
from slowfast.datasets.build import build_loader

def highest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

cfg = load_cfg(sys.argv[1], sys.argv[2:])
before = highest()
found = {}
for split in ("train", "test"):
    loader = build_loader(cfg, split)
    found[split] = [len(loader.dataset), len(loader), len(next(iter(loader.order)))]
print(json.dumps({"found": found, "mb": highest() - before}))
"""


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """Lists of a million rows like those of Kinetics-400; the videos are not there."""
    folder = tmp_path_factory.mktemp("lists")
    with open(folder / "train.csv", "w") as file:
        for row in range(ROWS):
            name = f"{row * 2654435761 % 2**32:011d}_{row % 300:06d}_{row % 300 + 10:06d}"
            file.write(f"train/class_name_{row % 400:03d}/{name}.mp4 {row % 400}\n")
    (folder / "test.csv").symlink_to(folder / "train.csv")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
def test_a_million_rows_are_small(lists, tmp_path):
    words = {
        "DATA.PATH_TO_DATA_DIR": lists,
        "DATA.PATH_PREFIX": tmp_path,
        "OUTPUT_DIR": tmp_path,
        "MODEL.NUM_CLASSES": 400,
        "TRAIN.BATCH_SIZE": 8,
        "TEST.BATCH_SIZE": 1,
    }
    words = [str(word) for pair in words.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", START, str(DEBUG_RECIPE), *words], capture_output=True, text=True, check=True
    )
    measured = json.loads(done.stdout)
    assert measured["found"] == {"train": [ROWS, ROWS // 8, 8], "test": [ROWS, ROWS, 1]}
    assert measured["mb"] < ALLOWED_MB
