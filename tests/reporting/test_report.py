"""report.html and compare.html: from the files of a run, from a whole run, of any size and with any names."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch

from slowfast import cli
from slowfast.config import load_cfg
from slowfast.engine.verdict import wilson
from slowfast.reporting import build, compare
from slowfast.reporting import report as story
from slowfast.reporting.page import report_page
from slowfast.reporting.reading import read_run
from slowfast.reporting.report import report

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Tags with the names of their attributes, as a browser would find them."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, [name for name, _ in attributes]))


def data_of(page):
    """What the script of a page is given."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def text_of(page):
    """The page without tags, for looking for what people read."""
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_a_tested_run_gets_a_page_with_frames(trained_run, tmp_path, debug_data):
    path = report(trained_run, tmp_path / "page.html")
    page = path.read_text()
    with open(trained_run / "predictions.csv", newline="") as file:
        wrong = sum(row["label"] != row["predicted"] for row in csv.DictReader(file))
    assert page.count("data:image/jpeg;base64,") == min(wrong, 12) > 0
    assert "No frames" not in page and "learning0" in data_of(page)["charts"]
    names = (debug_data / "classes.txt").read_text().splitlines()
    assert data_of(page)["confusion"]["names"] == names
    cells = np.array(data_of(page)["confusion"]["cells"]).reshape(-1, 3)
    assert cells[:, 2].sum() == 16 and cells[cells[:, 0] != cells[:, 1], 2].sum() == wrong
    assert "uniformer_debug" in page and torch.__version__.split("+")[0] in page
    assert report(trained_run, tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_where_the_videos_are_gone_the_page_says_so(trained_run, tmp_path):
    for name in ("results.json", "predictions.csv", "scores.npz"):
        shutil.copy(trained_run / name, tmp_path)
    page = report(tmp_path).read_text()
    assert "data:image" not in page and "No frames: the list of this test cannot be read here" in page
    assert "No training was recorded in this folder." in page


def test_figures_of_the_headline(made_up):
    folder = made_up().write(
        60, 6, warnings=["odd <scores>"], num_total=63, video_missing_wrong={"top1": 1.25}
    )
    found = json.loads((folder / "results.json").read_text())
    text = text_of(report(folder).read_text())
    top1 = found["video"]["top1"]
    low, high = wilson(top1 / 100 * 60, 60)
    assert f"video top-1 {top1:.2f} % 95 % interval {100 * low:.2f} to {100 * high:.2f} %" in text
    assert "views 8x3x4" in text and "videos scored 60 of 63" in text
    assert "if missing were wrong 1.25 %" in text and "Warning: odd &lt;scores&gt;" in text
    assert re.search(r"clip top-1 \d+\.\d\d % 95 % interval .* as wide as 60 videos give", text)


def test_videos_that_could_not_be_read_are_listed_with_reasons(made_up):
    many = [{"path": f"bad/{number}.mp4", "reason": "empty file"} for number in range(300)]
    damaged = [{"path": "cut.mp4", "reason": "the header promises 20 frames"}]
    folder = made_up().write(unreadable=many, damaged=damaged, incomplete=[{"path": "part.mp4", "views": 3}])
    text = text_of(report(folder).read_text())
    assert "Could not be read, and so have no score: 300; the first 200, all are in results.json" in text
    assert "bad/199.mp4 empty file" in text and "bad/200.mp4" not in text
    assert "cut.mp4 the header promises 20 frames" in text and "part.mp4 3" in text


def test_the_published_figure_of_a_recipe_is_shown(made_up):
    row = build.find_published(load_cfg(ROOT / "configs/k400/uniformer_s8x8.yaml"))
    text = text_of(report_page(read_run(made_up().write()), row, [], []).decode())
    assert f"published top-1 {row.top1:.1f} % views {row.views}, 19787 videos; other views than here" in text
    reproduced = read_run(made_up("other").write(published={"verdict": "FAIL"}))
    text = text_of(report_page(reproduced, row, [], []).decode())
    assert "reproduction: FAIL; so few videos as 60 prove little" in text


def test_other_numbers_of_clips_of_the_same_test(made_up):
    entry = {"top1": 50.0, "top5": 90.0, "num_scored": 60, "views": "8x3x1"}
    text = text_of(report(made_up().write(by_clips={"1": entry})).read_text())
    assert "8x3x1 60 50.00 % 90.00 %" in text


def test_several_labels(made_up):
    labels = [(row % 6, (row + row // 6 + 1) % 6) for row in range(60)]
    folder = made_up().write(labels=labels)
    page = report(folder).read_text()
    found = json.loads((folder / "results.json").read_text())["video"]["map"]
    assert f"mAP {found:.4f}" in text_of(page) and "average precision" in page
    assert data_of(page)["confusion"] is None and 'id="calibration"' not in page
    assert "mAP by number of clips" in page


def test_no_labels(made_up):
    page = report(made_up().write(unlabelled="the list has no <labels>")).read_text()
    assert "accuracy none the list has no &lt;labels&gt;" in text_of(page)
    assert all(f'id="{part}"' not in page for part in ("confusion", "calibration", "mistakes", "by-views"))
    assert 'id="classes"' in page


def test_a_single_video_and_two_classes(made_up):
    assert report(made_up().write(1, 2, clips=1, crops=1, labels=[0], skill=9)).is_file()
    assert "There is no mistake." in report(made_up().folder).read_text()


def test_no_name_can_become_markup(made_up):
    names = [f"{HOSTILE}{number}" for number in range(6)]
    paths = [f"{HOSTILE}/{number}.mp4" for number in range(60)]
    reasons = [{"path": HOSTILE, "reason": HOSTILE}]
    texts = {key: HOSTILE for key in ("recipe", "checkpoint", "list", "commit")}
    folder = made_up(HOSTILE.replace("/", "")).write(
        names=names, paths=paths, unreadable=reasons, damaged=reasons, warnings=[HOSTILE], **texts,
        operators={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}, class_order={"said": HOSTILE},
    )  # fmt: skip
    made_up(folder.name).train()
    other = made_up("other").write(names=names, paths=paths, seed=7)
    page = report(folder).read_text()
    compare.compare_runs([folder, other], folder / "compare.html")
    for text in (page, (folder / "compare.html").read_text()):
        assert text.count("<script") == 2 and "alert(1)" in text
        tags = Tags(text).tags
        assert not {name for _, attributes in tags for name in attributes if name.startswith("on")}
        assert "img" not in {tag for tag, _ in tags}
    assert data_of(page)["confusion"]["names"] == names


def test_a_large_test_fits_into_a_small_page(made_up):
    """20,000 videos of 400 classes, half of them wrong in almost as many ways."""
    names = [f"a class with a rather long name, number {number}" for number in range(400)]
    folder = made_up().write(20_000, 400, clips=1, crops=1, skill=3.0, names=names)
    path = report(folder)
    assert path.stat().st_size < 1_500_000
    cells = data_of(path.read_text())["confusion"]["cells"]
    assert sum(cells[2::3]) == 20_000 and len(cells) > 3 * 5000


def test_every_run_of_the_command_line_writes_a_report(trained_run, debug_options, tmp_path, capsys):
    words = [
        "TRAIN.ENABLE", "False", "TEST.CHECKPOINT_FILE_PATH", str(trained_run / "best.pyth"),
        "TEST.NUM_ENSEMBLE_VIEWS", "1", "DATA_LOADER.NUM_WORKERS", "0",
    ]  # fmt: skip
    recipe = ROOT / "configs/debug/uniformer_debug.yaml"
    assert cli.main(["run", "--cfg", str(recipe), *debug_options, *words]) == 0
    page = (tmp_path / "run" / "report.html").read_bytes()
    assert b"data:image/jpeg" in page and "report.html" in (tmp_path / "run" / "log.txt").read_text()
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "anew.html")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "anew.html")]
    assert (tmp_path / "anew.html").read_bytes() == page


def test_a_report_that_fails_ends_no_run_but_is_told(debug_cfg, made_up, caplog, monkeypatch):
    folder = made_up().write(16, 8)
    cfg = debug_cfg("OUTPUT_DIR", str(folder))

    def break_down(*arguments):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(story, "report_page", break_down)
    story.report_after_test(cfg)
    assert "no report.html was written: RuntimeError: a fault of ours" in caplog.text
    assert not (folder / "report.html").exists()


def test_other_processes_write_nothing(debug_cfg, made_up, monkeypatch):
    folder = made_up().write(16, 8)
    monkeypatch.setattr(story.distributed, "is_main", lambda: False)
    story.report_after_test(debug_cfg("OUTPUT_DIR", str(folder)))
    assert not (folder / "report.html").exists()


def test_what_the_commands_refuse(made_up, tmp_path, capsys):
    folder = str(made_up().write())
    other = str(made_up("other").write(seed=3))
    for words, said in [
        (["report", str(tmp_path / "none")], "no such folder; give the OUTPUT_DIR of a run"),
        (["report", folder, "A", "B"], "A B: a report has no settings"),
        (["report", folder, "--out", str(tmp_path)], "is a folder: give the file to write"),
        (["compare", folder], "1 run(s) given: give 2 to 6 of them"),
        (["compare", *[folder, other] * 4], "8 run(s) given"),
        (["compare", folder, folder], "is given twice"),
        (["compare", folder, other, "--out", str(tmp_path)], "is a folder: give the file to write"),
        (["compare", folder, "--out", "x.html", other, other], "name all runs one after the other"),
    ]:
        assert cli.main(words) == 2
        assert said in capsys.readouterr().err


def test_compare_prints_a_table_and_writes_a_page(made_up, tmp_path, capsys):
    weak = made_up("weak/run").write(100, 6, skill=0.5, seed=1, num_total=101)
    made_up("weak/run").train()
    strong = made_up("strong/run").write(100, 6, skill=4, seed=2)
    made_up("strong/run").train(3)
    assert cli.main(["compare", str(weak), str(strong), "--out", str(tmp_path / "c.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "run videos top-1 against the first (95 %) p".split()
    assert lines[1].startswith("weak/run") and lines[2].startswith("strong/run")
    assert re.search(r"\+\d+\.\d\d \(\+\d+\.\d\d to \+\d+\.\d\d\)  \S+$", lines[2])
    assert lines[3] == "warning: the lists have other numbers of videos: 101, 100"
    assert lines[-1] == f"see {tmp_path / 'c.html'}"
    page = (tmp_path / "c.html").read_text()
    series = data_of(page)["charts"]["learning0"]["series"]
    assert [(one["name"], len(one["points"])) for one in series] == [("weak/run", 5), ("strong/run", 3)]
    assert "McNemar" in page and "Against weak/run" in page


def test_compare_several_labels(made_up, tmp_path):
    labels = [(row % 6, (row + row // 6 + 1) % 6) for row in range(60)]
    folders = [made_up(f"{skill}").write(labels=labels, skill=skill) for skill in (1, 3)]
    lines = compare.compare_runs(folders, tmp_path / "c.html")
    assert "mAP" in lines[0] and "+0." in lines[2] and lines[2].endswith("-")


def test_runs_are_told_apart_by_as_little_of_their_path_as_it_takes():
    assert compare.short_names(["a/b/run", "a/c/run"]) == ["b/run", "c/run"]
    assert compare.short_names(["a/one", "b/two"]) == ["one", "two"]
