"""MODEL_ZOO.md says what recipes, published.json and result files say, and nothing nobody measured."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slowfast.engine import zoo

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "make_tables.py"
PUBLISHED = json.loads((ROOT / "configs" / "published.json").read_text())
TEXT = "Before\n<!-- table {} -->\nold\n<!-- end -->\nbetween\n<!-- table flops -->\n<!-- end -->\nafter\n"


def row(name, **results):
    entry = PUBLISHED[name]
    views = (entry["input_frames"], entry["crops"], entry["clips"])
    return zoo.Row(name, entry, 21_400_400, 17_613_435_904, views, results)


def result(top1, num_scored=19787):
    return {"video": {"top1": top1}, "num_scored": num_scored}


def line_of(table_row):
    """The cells that a row makes."""
    (line,) = [
        line
        for line in zoo.fill(TEXT.format(table_row.dataset), [table_row]).splitlines()
        if line.startswith("| [")
    ]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_nobody_measured_has_a_dash():
    cells = line_of(row("k400/uniformer_s8x8"))
    assert cells[:8] == [
        "[uniformer_s8x8](configs/k400/uniformer_s8x8.yaml)", "21.4", "17.6", "70.5", "70", "8x1x4", "78.4", "-",
    ]  # fmt: skip
    assert cells[8].startswith("`uniformer_small_k400_8x8`, [Google Drive](https://")
    assert line_of(row("k400/uniformer_s32x4"))[8] == "none"


def test_a_result_file_gives_the_number_and_says_when_videos_are_missing():
    assert line_of(row("k400/uniformer_s8x8", **{"": result(78.26)}))[7] == "78.3"
    part = row("k400/uniformer_s8x8", **{"": result(78.26, 19000)})
    assert line_of(part)[7] == "78.3 (19000 of 19787 videos)"


def test_a_result_that_fails_its_comparison_says_so():
    failed = {**result(60.0, 19000), "published": {"verdict": "FAIL"}}
    assert (
        line_of(row("k400/uniformer_s8x8", **{"": failed}))[7]
        == "60.0 (19000 of 19787 videos, not reproduced)"
    )
    passed = {**result(78.3), "published": {"verdict": "PASS"}}
    assert line_of(row("k400/uniformer_s8x8", **{"": passed}))[7] == "78.3"


def test_three_splits_give_their_mean_and_fewer_give_none():
    counts = PUBLISHED["ucf101/uniformer_s16x4_prek400"]["num_test_videos"]
    splits = {f"split{number}": result(97.0 + number, count) for number, count in enumerate(counts, 1)}
    assert line_of(row("ucf101/uniformer_s16x4_prek400", **splits))[7] == "99.0 (mean of splits 1-3)"
    odd = {**result(99.0, 3700), "published": {"verdict": "FAIL", "overrides": {"DATA.TEST_SCALE": "256"}}}
    assert line_of(row("ucf101/uniformer_s16x4_prek400", **{**splits, "split2": odd}))[7] == (
        "99.0 (mean of splits 1-3, split 2: 3700 of 3734 videos, other settings, not reproduced)"
    )
    del splits["split2"]
    assert line_of(row("ucf101/uniformer_s16x4_prek400", **splits))[7] == "-"


def test_a_score_of_so_few_videos_that_it_proves_little_carries_their_number():
    name = "ucf101/uniformer_s16x4_prek400"
    splits = {f"split{number}": result(97.0, count) for number, count in enumerate((90, 80, 70), 1)}
    few = zoo.measured({"split1": 90, "split2": 80, "split3": 70}, splits, PUBLISHED[name]["top1"])
    assert few == "97.0 (mean of splits 1-3, 240 videos)"
    assert zoo.measured({"": 50}, {"": result(78.0, 50)}, 78.4) == "78.0 (50 videos)"
    assert zoo.measured({"": 50}, {"": result(78.0, 49)}, 78.4) == "78.0 (49 of 50 videos)"
    hmdb = {f"split{number}": result(77.0, 1530) for number in (1, 2, 3)}
    (key,) = (key for key in PUBLISHED if key.startswith("hmdb51/"))
    assert line_of(row(key, **hmdb))[7] == "77.0 (mean of splits 1-3, 4590 videos)"


def test_rows_whose_published_cost_is_off_are_named_and_text_outside_stays():
    made = zoo.fill(TEXT.format("k400"), [row("k400/uniformer_s8x8"), row("k400/uniformer_b32x4")])
    assert made.startswith("Before\n<!-- table k400 -->\n| recipe |") and made.endswith(
        "<!-- end -->\nafter\n"
    )
    assert "| k400/uniformer_b32x4 | 70.45 | 1036 | -93.2 % |" in made and "old" not in made
    assert "| k400/uniformer_s8x8 |" not in made
    assert zoo.fill(made, [row("k400/uniformer_s8x8"), row("k400/uniformer_b32x4")]) == made


def test_a_missing_table_is_refused():
    with pytest.raises(ValueError, match="marked for flops, k600; there must be one each for flops, k400"):
        zoo.fill(TEXT.format("k600"), [row("k400/uniformer_s8x8")])


def test_check_tells_stale_tables_and_a_run_mends_them(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("make_tables", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    name = "k400/uniformer_xxs4_128"
    (tmp_path / "configs" / "k400").mkdir(parents=True)
    shutil.copy(ROOT / "configs" / f"{name}.yaml", tmp_path / "configs" / "k400")
    (tmp_path / "configs" / "published.json").write_text(json.dumps({name: PUBLISHED[name]}))
    (tmp_path / "MODEL_ZOO.md").write_text(TEXT.format("k400"))
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    codes = []
    for words in (["--check"], [], ["--check"]):
        monkeypatch.setattr(sys, "argv", ["make_tables.py", *words])
        codes.append(tool.main())
    assert codes == [1, 0, 0]
    assert "MODEL_ZOO.md is stale: run tools/make_tables.py" in capsys.readouterr().err
    (tmp_path / "results" / "k400").mkdir(parents=True)
    (tmp_path / "results" / f"{name}.json").write_text(json.dumps(result(63.1)))
    assert tool.main() == 1  # a new result makes it stale
    (tmp_path / "results" / "k400" / "mispelt.json").write_text("{}")
    capsys.readouterr()
    assert tool.main() == 1
    assert "k400/mispelt.json belongs to no row" in capsys.readouterr().err
    for text, complaint in (("{", "is not a whole result file"), ('{"video": {}}', "must hold video.top1")):
        (tmp_path / "results" / f"{name}.json").write_text(text)
        assert tool.main() == 2
        err = capsys.readouterr().err
        assert f"{name}.json is not" in err and complaint in err


def test_the_tables_are_up_to_date():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
