"""Shards end to end: a test on them predicts, bit for bit, what it does on the files they were made of."""

import contextlib
import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from slowfast import cli
from slowfast.datasets import shards

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"
WORDS = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0", "NUM_THREADS", "1"]


def run(data, prefix, out, *words):
    shards._open.cache_clear()
    words = ["DATA.PATH_TO_DATA_DIR", data, "DATA.PATH_PREFIX", prefix, "OUTPUT_DIR", out, *WORDS, *words]
    return cli.main(["run", "--cfg", str(RECIPE), *map(str, words)])


@pytest.fixture(scope="module")
def packed(debug_data, tmp_path_factory):
    """The value of DATA.PATH_PREFIX that the command prints for shards of the debug data."""
    out = tmp_path_factory.mktemp("shards")
    lists = [str(debug_data / f"{split}.csv") for split in ("train", "val", "test")]
    words = [
        "shards",
        *lists,
        "--media",
        str(debug_data),
        "--out",
        str(out),
        "--size",
        "2e-5",
        "--workers",
        "2",
    ]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cli.main(["prepare", *words]) == 0
    printed = printed.getvalue()
    key, prefix = shlex.split(printed.splitlines()[-1])
    assert key == "DATA.PATH_PREFIX" and len(list(out.glob("*.tar"))) > 2
    return prefix


def test_a_run_on_shards_equals_the_run_on_files(debug_data, packed, tmp_path):
    for name, prefix in (("files", debug_data), ("shards", packed)):
        assert run(debug_data, prefix, tmp_path / name, "DATA_LOADER.NUM_WORKERS", 1) == 0
    files, tars = tmp_path / "files", tmp_path / "shards"
    assert (files / "predictions.csv").read_bytes() == (tars / "predictions.csv").read_bytes()
    with np.load(files / "scores.npz") as one, np.load(tars / "scores.npz") as other:
        assert all(np.array_equal(one[key], other[key]) for key in one.files)
    assert json.loads((tars / "results.json").read_text())["num_scored"] == 16


def test_spawned_workers_read_shards(debug_data, packed, tmp_path):
    words = ["DATA_LOADER.NUM_WORKERS", 1, "DATA_LOADER.START_METHOD", "spawn", "TEST.ENABLE", "False"]
    assert run(debug_data, packed, tmp_path, *words) == 0


def test_what_is_wrong_with_shards_is_told_before_training(debug_data, packed, tmp_path, capsys):
    assert run(debug_data, tmp_path / "*.tar", tmp_path / "out") == cli.USER_ERROR
    assert "no file fits" in capsys.readouterr().err
    (tmp_path / "a.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    assert run(debug_data, tmp_path / "*.tar", tmp_path / "out") == cli.USER_ERROR
    assert "compressed with gzip" in capsys.readouterr().err


def test_frame_folders_are_not_read_from_shards(debug_data, packed, tmp_path, capsys):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("".join(f"folder{n} 30 {n}\n" for n in range(8)))
    words = ["TRAIN.DATASET", "ssv2", "TEST.DATASET", "ssv2"]
    assert run(tmp_path, packed, tmp_path / "out", *words) == cli.USER_ERROR
    assert "a list of frame folders, but DATA.PATH_PREFIX" in capsys.readouterr().err


def test_a_name_that_is_in_no_shard_is_named(debug_data, packed, tmp_path, capsys):
    (tmp_path / "classes.txt").write_bytes((debug_data / "classes.txt").read_bytes())
    for split in ("train", "val", "test"):
        lines = (debug_data / f"{split}.csv").read_text().splitlines()
        (tmp_path / f"{split}.csv").write_text("\n".join(f"wrong/{line}" for line in lines) + "\n")
    assert run(tmp_path, packed, tmp_path / "out", "DATA_LOADER.NUM_WORKERS", 0) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert "no such member in" in said and "a similar one is clips/train/" in said
