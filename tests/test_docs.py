"""The pages of docs/ do what they say: their blocks run in order, on made-up videos and with small settings.

A block of bash is a script, or commands one by one, which run in this process; what needs a GPU or a cluster is checked
against parser and recipe. A block of Python is executed, or is a file where its
first line names one.
"""

import csv
import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast import cli
from slowfast.config import get_cfg, load_cfg
from slowfast.datasets import DATASET_REGISTRY
from slowfast.datasets.video_writer import write_video
from slowfast.inference import deployable
from slowfast.models import MODEL_REGISTRY, build_model
from slowfast.utils import checkpoint

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TOOL = ROOT / "tools" / "make_docs.py"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w./]+\.py)\n")
PROGRAMS = ("slowfast", "python", "sbatch", "srun")
SMALL_MODEL = "UNIFORMER.DEPTH [1,1,1,1] UNIFORMER.EMBED_DIM [8,8,16,16] UNIFORMER.HEAD_DIM 8".split()
SMALL_TEST = "DATA.TEST_CROP_SIZE 32 DATA_LOADER.NUM_WORKERS 0 NUM_THREADS 1".split()
SMALL_RUN = [
    *SMALL_MODEL,
    *SMALL_TEST,
    *"DATA.TRAIN_CROP_SIZE 32 TRAIN.BATCH_SIZE 4 SOLVER.MAX_EPOCH 1 SOLVER.WARMUP_EPOCHS 0".split(),
]
SMALL_FINETUNING = "--epochs 1 --gpus 0 NUM_THREADS 1".split()


class Reader:
    """Somebody who follows a page in a folder.

    more: words that are added to a command, by its name. failing: commands whose exit status is to be 1, not 0.
    """

    def __init__(self, folder, capsys, more, failing=()):
        self.folder, self.capsys, self.more, self.failing = folder, capsys, more, failing
        self.done = []  # (words, what was printed)
        self.names = {"__name__": "__main__"}  # what Python blocks share

    def follow(self, page):
        for language, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
            if language == "python" and (file := FILE.match(text)):
                (self.folder / file[1]).write_text(text, encoding="utf-8")
            elif language == "python":
                exec(compile(text, page, "exec"), self.names)
            elif language == "bash":
                self.bash(text)
            else:
                assert language == "text", f"{page}: a block of {language} is neither run nor marked as text"
        return self

    def bash(self, text):
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
        if lines[0].split()[0] not in PROGRAMS:
            subprocess.run(["bash", "-eu", "-c", text], cwd=self.folder, check=True)
            return
        for line in lines:
            program, *words = shlex.split(line)
            getattr(self, program)(words)

    def slowfast(self, words):
        words = [*words, *self.more.get(words[0], ())]
        if gpus(words):
            check_run(words)
        else:
            self.watch(words, cli.main)

    def python(self, words):
        script, *words = words
        words = [*words, *self.more.get(words[0], ())]
        self.watch(words, lambda words: run_script(script, words))

    def watch(self, words, command):
        self.capsys.readouterr()
        status = command(words)
        out, err = self.capsys.readouterr()
        assert status == (words[0] in self.failing), err
        self.done.append((words, out))

    def srun(self, words):
        check_run(words[words.index("slowfast") + 1 :])

    def sbatch(self, words):
        script = next(number for number, word in enumerate(words) if not word.startswith("-"))
        assert os.access(ROOT / words[script], os.R_OK)
        check_run(["run", *words[script + 1 :]])

    def said(self, command):
        """What each call of a command printed."""
        return [out for words, out in self.done if words[0] == command]

    def commands(self):
        return [words[0] for words, _ in self.done]


def run_script(script, words):
    """What `python SCRIPT WORDS` does, in this process, which has the heavy modules already; its exit status."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [script, *words])
        runpy.run_path(os.path.abspath(script), run_name="__main__")
    return ended.value.code


def gpus(words):
    return "NUM_GPUS" in words and words[words.index("NUM_GPUS") + 1] != "0"


def check_run(words):
    """A training that this machine cannot do: its options and keys are those that there are."""
    args, opts = cli._parser().parse_known_args(words)
    assert words[0] == "run" and not [word for word in opts if word.startswith("--")], words
    load_cfg(args.cfg, opts)


@pytest.fixture
def reader(tmp_path, monkeypatch, capsys):
    """A function from added words to a Reader in an empty folder with the recipes and class names of a checkout."""
    for name in ("configs", "data_lists"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (DATASET_REGISTRY, MODEL_REGISTRY):
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    before = set(sys.modules)
    yield lambda failing=(), **more: Reader(tmp_path, capsys, more, failing)
    for name in set(sys.modules) - before:
        if (
            getattr(sys.modules[name], "__file__", None)
            and tmp_path in Path(sys.modules[name].__file__).parents
        ):
            del sys.modules[name]


def made_up(path, seed=0, frames=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 48, 64, 3), dtype=np.uint8)
    write_video(path, pixels, 25)
    return pixels


def test_own_data(reader, trained_run, tmp_path):
    for number, label in enumerate(("jump", "run", "walk")):
        for person in range(6):
            made_up(tmp_path / "my_videos" / label / f"person{person}_a.mp4", 10 * number + person)
    for name in ("a_new_video.mp4", "more_videos/one.mp4", "more_videos/two.mp4"):
        made_up(tmp_path / name)
    made_up(tmp_path / "a_long_video.mp4", frames=80)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    shutil.copy(trained_run / "best.pyth", tmp_path / "runs" / "demo")
    read = reader(finetune=SMALL_FINETUNING).follow("own_data.md")
    commands = [
        "finetune",
        "finetune",
        "compare",
        "predict",
        "predict",
        "predict",
        "explain",
        "export",
        "extract",
    ]
    assert read.commands() == commands
    table = re.findall(r"^\| (`.+`) \|", (DOCS / "own_data.md").read_text(), re.MULTILINE)
    for name in re.findall(r"`([\w./]+)`", " ".join(table)):
        assert (tmp_path / "runs" / "mine" / name).exists(), name
    assert {name for name, _ in read.names["prediction"].top(3)} == {"jump", "run", "walk"}
    assert len(list(csv.reader((tmp_path / "predictions.csv").open()))) == 3
    for name in (
        "compare.html",
        "shown.mp4",
        "explained/map.png",
        "explained/map.mp4",
        "runs/mine/model.onnx",
    ):
        assert (tmp_path / name).exists(), name
    splits = {
        split: set(re.findall(r"person\d", (tmp_path / f"runs/mine/lists/{split}.csv").read_text()))
        for split in ("train", "val", "test")
    }
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 6


def test_reproduce(reader, tmp_path):
    classes = (ROOT / "data_lists" / "k400" / "classes.txt").read_text().splitlines()
    rows = [(classes[7 * number], f"video{number:06d}", 10, 20, "validate") for number in range(4)]
    with open(tmp_path / "validate.csv", "w", newline="") as file:
        csv.writer(file).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *rows])
    for number, row in enumerate(rows):
        made_up(tmp_path / "videos" / f"{row[1]}_000010_000020.mp4", number)
    model = build_model(load_cfg(tmp_path / "configs" / "k400" / "uniformer_s8x8.yaml", SMALL_MODEL))
    (tmp_path / "path_to_models").mkdir()
    weights = tmp_path / "path_to_models" / "uniformer_small_k400_8x8.pth"
    checkpoint.save({"model_state": model.state_dict()}, weights)
    words = [*SMALL_MODEL, *SMALL_TEST]
    read = reader(failing=("reproduce",), reproduce=words).follow("reproduce.md")  # with random weights
    assert read.commands() == ["prepare", "check", "reproduce"]
    assert "published top-1 78.4" in read.said("reproduce")[0] and "FAIL" in read.said("reproduce")[0]
    assert (tmp_path / "lists" / "k400" / "missing.csv").exists()
    (found,) = tmp_path.rglob("results.json")
    results = json.loads(found.read_text())
    assert results["num_scored"] == results["num_total"] == 4 and results["views"] == "8x1x4"
    assert {"num_scored", "num_total", "damaged", "views"} <= results.keys()


def test_slurm(reader, trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "runs" / "k400_s16x4")
    read = reader(submit=["--dry-run"]).follow("slurm.md")
    assert read.commands() == ["submit"] * 4
    one, other, array, status = read.said("submit")
    assert one == other and "#SBATCH --nodes=4" in one and "uniformer_s16x4.yaml" in one
    assert "uniformer_s8x8.yaml" in array and "--array=0-1" in array
    assert "none: it was started by hand" in status and "complete" in status


def test_a_new_data_set(reader, tmp_path):
    for label in ("jump", "walk"):
        for number in (1, 2, 3):
            pixels = made_up(tmp_path / "videos" / label / f"{number}.mp4", number)
            (tmp_path / "arrays" / label).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "arrays" / label / f"{number}.npy", pixels)
    read = reader(run=SMALL_RUN, predict=SMALL_TEST).follow("new_data_set.md")
    assert read.commands() == ["check", "run", "run", "predict"]
    for name in ("lists", "arrays"):
        results = json.loads((tmp_path / "runs" / name / "results.json").read_text())
        assert results["num_scored"] == 2 and not results["unreadable"]
    assert "walk" in read.said("predict")[0]


def test_a_new_model(reader, debug_data, tmp_path):
    names = (debug_data / "classes.txt").read_text().splitlines()
    for folder, classes in (("lists", names), ("other_lists", names[:2])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "classes.txt").write_text("\n".join(classes) + "\n")
        for name in ("train.csv", "val.csv", "test.csv"):
            lines = (debug_data / name).read_text().replace(" ", ",").splitlines(keepends=True)
            kept = [line for line in lines if int(line.rsplit(",")[1]) < len(classes)]
            (tmp_path / folder / name).write_text("".join(kept))
    (tmp_path / "videos").symlink_to(debug_data)
    made_up(tmp_path / "a_new_video.mp4")
    read = reader(run=SMALL_RUN, finetune=SMALL_FINETUNING).follow("new_model.md")
    assert read.commands() == ["run", "predict", "finetune", "export"]
    assert "move" in read.said("predict")[0] or "turn" in read.said("predict")[0]
    assert read.names["model"].facts["model"] == "SmallNet3D"
    results = json.loads((tmp_path / "runs" / "small" / "results.json").read_text())
    assert results["num_scored"] == results["num_total"] == 16
    assert (tmp_path / "runs" / "mine" / "model.onnx").exists()


def test_every_page_is_in_the_table_of_pages():
    named = set(re.findall(r"\]\((\w+\.md)\)", (DOCS / "README.md").read_text()))
    assert named == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_key_a_page_names_exists(page):
    cfg = get_cfg()
    for section, key in set(re.findall(r"\b([A-Z_]+)\.([A-Z_]{3,})\b", page.read_text())):
        assert section in cfg and key in cfg[section], f"{section}.{key}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_every_test_a_page_names_exists(page):
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_every_claim_beside_others_names_a_test():
    rows = [line for line in (DOCS / "peers.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10 and all("`tests/" in row.split(" | ")[2] for row in rows)


def test_the_facts_of_a_model_card_are_there(trained_run, tmp_path):
    text = (DOCS / "model_card.md").read_text()
    deployable.write(trained_run / "best.pyth", tmp_path / "model.pyth")
    places = {
        "results.json": json.loads((trained_run / "results.json").read_text()),
        "model.pyth": torch.load(tmp_path / "model.pyth", weights_only=True),
    }
    facts = re.findall(r"`(results\.json|model\.pyth): ([\w.]+)`", text)
    assert len(facts) >= 15
    for file, name in facts:
        found = places[file]
        for part in name.split("."):
            assert part in found, f"{file} has no {name}"
            found = found[part]


@pytest.fixture
def make_docs():
    """The module tools/make_docs.py."""
    spec = importlib.util.spec_from_file_location("make_docs", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names of their module
    spec.loader.exec_module(module)
    return module


def test_the_page_of_keys_is_current_and_the_reference_builds_without_a_warning(tmp_path):
    words = [sys.executable, TOOL, "--check", "--api", tmp_path / "api"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    pages = {
        path.relative_to(tmp_path / "api").as_posix(): path.read_text() for path in tmp_path.rglob("*.html")
    }
    for page, names in {
        "slowfast.html": ("load",),
        "slowfast/inference/classifier.html": ("VideoClassifier", "VideoClassifier.predict"),
        "slowfast/inference/prediction.html": ("Prediction", "Prediction.top"),
        "slowfast/inference/features.html": ("read", "FeatureFolder"),
        "slowfast/config.html": ("load_cfg", "get_cfg"),
        "slowfast/models.html": ("build_model", "MODEL_REGISTRY"),
        "slowfast/datasets.html": ("build_loader", "DATASET_REGISTRY"),
        "slowfast/engine/train.html": ("train",),
        "slowfast/engine/test.html": ("test",),
    }.items():
        for name in names:
            assert f'id="{name}"' in pages[page], f"{page}: {name}"
        assert f'href="{page}"' in pages["index.html"]
    assert str(ROOT) not in "".join(pages.values())


def test_names_in_docstrings_that_begin_with_slowfast_lead_somewhere(make_docs):
    for name in make_docs.API:
        module = importlib.import_module(name)
        for found in set(re.findall(r"\bslowfast(?:\.\w+)+", Path(module.__file__).read_text())):
            parts = found.split(".")
            module_parts = next(n for n in range(len(parts), 0, -1) if importable(".".join(parts[:n])))
            thing = importlib.import_module(".".join(parts[:module_parts]))
            for part in parts[module_parts:]:
                assert hasattr(thing, part), f"{name} speaks of {found}"
                thing = getattr(thing, part)


def importable(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


SOURCE = """\
def _first(cfg):
    # ------------------------------------------------------------ FIRST
    cfg.FIRST = CfgNode()
    cfg.FIRST.ONE = 1  # beside
    # above, and
    # beyond
    cfg.FIRST.TWO = 2
    cfg.FIRST.THREE = 3
    cfg.FIRST.FOUR = (
        4  # within
    )

    # ---------------------------------------------------- FIRST: more
    # after a ruler
    cfg.FIRST.FIVE = 5
"""


def test_a_key_is_told_by_the_comments_above_and_beside_it(make_docs):
    rows = [(row.heading, row.keys, row.meaning) for row in make_docs.read_rows(SOURCE)]
    assert rows == [
        ("FIRST", ("FIRST.ONE",), "beside"),
        ("FIRST", ("FIRST.TWO", "FIRST.THREE"), "above, and beyond"),
        ("FIRST", ("FIRST.FOUR",), "within"),
        ("FIRST: more", ("FIRST.FIVE",), "after a ruler"),
    ]


def test_the_page_has_every_key_once_and_says_something_of_it(make_docs):
    rows = make_docs.read_rows(Path(make_docs.defaults.__file__).read_text())
    keys = [key for row in rows for key in row.keys]
    assert sorted(keys) == sorted(key for key, _ in make_docs.leaves(get_cfg()))
    assert all(row.heading and row.meaning for row in rows)
    page = make_docs.config_page()
    assert (
        '| `DIST_BACKEND` | `"nccl"` | text | nccl \\| gloo; nccl without a GPU means gloo (here) |' in page
    )
    assert "| `UNIFORMER.QKV_SCALE` | `null` | number or nothing |" in page


def test_a_stale_page_is_found_and_made_anew(make_docs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_docs, "CONFIG_PAGE", tmp_path / "config.md")
    (tmp_path / "config.md").write_text("old")
    assert make_docs.make(True, None) == 1 and (tmp_path / "config.md").read_text() == "old"
    assert "config.md is stale: run tools/make_docs.py" in capsys.readouterr().err
    assert make_docs.make(False, None) == 0
    assert make_docs.make(True, None) == 0


def test_a_public_name_without_a_docstring_is_refused(make_docs, tmp_path, monkeypatch):
    (tmp_path / "bare.py").write_text(
        'def told():\n    "Yes."\n\n\ndef untold():\n    pass\n\n\ndef _own():\n    pass\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(make_docs, "API", ("bare",))
    with pytest.raises(ValueError, match=r"without a docstring: bare\.untold$"):
        make_docs.build_api(tmp_path / "api")
    assert not (tmp_path / "api").exists()
