"""The check of a list from end to end: what it writes and says, what it survives, and how it goes on."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slowfast import cli
from slowfast.datasets.video_writer import write_video
from slowfast.engine import check_data

HERE = Path(__file__).parent
FRAMES = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None] * 40, (6, 32, 48, 3))


@pytest.fixture
def hostile(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))  # spawned processes take over the path
    monkeypatch.setattr(check_data, "decode", importlib.import_module("hostile_decoding").decode)


@pytest.fixture
def videos(tmp_path):
    """A function from names to the folder where there are small videos of these names."""
    folder = tmp_path / "videos"
    folder.mkdir()

    def make(*names):
        for name in names:
            write_video(folder / name, FRAMES, 12)
        return folder

    return make


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(path, *words):
    return cli.main(["check", *map(str, (path, "--jobs", 1, *words))])


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def journal(folder):
    """path → verdicts on it, in the order in which they were found."""
    found = {}
    for line in (folder / "journal.jsonl").read_text().splitlines()[1:]:
        entry = json.loads(line)
        found.setdefault(entry["path"], []).append((entry["verdict"], entry["reason"]))
    return found


def test_good_lines_are_those_of_the_list_and_bad_ones_have_reasons(tmp_path, videos, capsys):
    media = videos("a b.mp4", "ünï.mp4")
    write(media / "empty.mp4", "")
    text = "\ufeffa b.mp4\t0\r\nempty.mp4\t2\r\n\r\nnowhere.mp4\t0\r\na b.mp4\t0\r\nünï.mp4\t1"
    path = write(tmp_path / "train.csv", text)
    write(tmp_path / "classes.txt", "run\njump, high\nswim\nfly\n")
    assert check(path, "--media", media) == 1
    out = tmp_path / "train_check"
    assert (out / "good.csv").read_text("utf-8") == "a b.mp4\t0\na b.mp4\t0\nünï.mp4\t1\n"
    assert rows(out / "bad.csv") == [
        ["path", "label", "reason"],
        ["empty.mp4", "2", "empty file"],
        ["nowhere.mp4", "0", "no such file"],
    ]
    assert rows(out / "coverage.csv") == [
        ["label", "class", "listed", "good", "bad", "share"],
        ["0", "run", "3", "2", "1", "0.6667"],
        ["1", "jump, high", "1", "1", "0", "1.0000"],
        ["2", "swim", "1", "0", "1", "0.0000"],
        ["3", "fly", "0", "0", "0", "1.0000"],
    ]
    said = capsys.readouterr().out
    assert "4 videos; 0 checked earlier, 4 to check" in said and "3 of 5 videos are good (60.00%)" in said
    assert "1 x empty file" in said and "0 of 1 good: 2 swim\n    2 of 3 good: 0 run" in said
    assert len(journal(out)["a b.mp4"]) == 1  # listed twice, decoded once


def test_the_good_list_is_all_good(tmp_path, videos):
    path = write(tmp_path / "l.txt", "a.mp4 3;5\nnone.mp4 5\n")
    assert check(path, "--media", videos("a.mp4"), "--out", tmp_path / "out") == 1
    assert (tmp_path / "out" / "good.csv").read_text() == "a.mp4 3;5\n"
    assert (
        check(tmp_path / "out" / "good.csv", "--media", tmp_path / "videos", "--out", tmp_path / "new") == 0
    )
    assert rows(tmp_path / "new" / "bad.csv") == [["path", "label", "reason"]]
    assert rows(tmp_path / "new" / "coverage.csv")[1:] == [
        ["3", "", "1", "1", "0", "1.0000"],
        ["5", "", "1", "1", "0", "1.0000"],
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_crashes_hangs_and_memory_cost_one_video_each(tmp_path, videos, hostile):
    names = ["a.mp4", "crash.mp4", "hang.mp4", "memory.mp4", "z.mp4"]
    path = write(tmp_path / "l.csv", "".join(f"{name},0\n" for name in names))
    words = ["--media", videos("a.mp4", "z.mp4", "hang.mp4"), "--seconds", "5", "--memory-gb", "0.5"]
    assert check(path, *words) == 1
    assert rows(tmp_path / "l_check" / "bad.csv")[1:] == [
        ["crash.mp4", "0", "its process crashed (SIGSEGV)"],
        ["hang.mp4", "0", "not done after 5 seconds"],
        ["memory.mp4", "0", "needs more than 0.5 GB of memory"],
    ]
    assert (tmp_path / "l_check" / "good.csv").read_text() == "a.mp4,0\nz.mp4,0\n"


def test_other_limits_are_tried_on_what_ran_into_limits(tmp_path, videos, hostile, monkeypatch, capsys):
    path = write(tmp_path / "l.csv", "crash.mp4,0\nnone.mp4,0\na.mp4,0\n")
    words = ["--media", videos("a.mp4", "crash.mp4")]
    assert check(path, *words) == 1
    assert check(path, *words) == 1
    assert capsys.readouterr().out.count("3 checked earlier, 0 to check") == 1
    monkeypatch.undo()  # no more crashes
    assert check(path, *words, "--seconds", "60") == 1
    assert [verdict for verdict, _ in journal(tmp_path / "l_check")["crash.mp4"]] == ["bad", "good"]
    assert rows(tmp_path / "l_check" / "bad.csv")[1:] == [["none.mp4", "0", "no such file"]]


def test_what_changed_is_checked_anew(tmp_path, videos, capsys):
    media = videos("a.mp4")
    write(media / "b.mp4", "")
    path = write(tmp_path / "l.csv", "a.mp4,0\nb.mp4,0\n")
    assert check(path, "--media", media) == 1
    videos("b.mp4")
    assert check(path, "--media", media) == 0
    assert "1 checked earlier, 1 to check" in capsys.readouterr().out
    os.utime(media / "a.mp4", ns=(0, 0))
    assert check(path, "--media", media) == 0
    assert "1 checked earlier, 1 to check" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_check_that_was_stopped_goes_on(tmp_path, videos, how, capsys):
    names = ["a.mp4", "b.mp4", "block.mp4", "c.mp4"]
    path = write(tmp_path / "l.csv", "".join(f"{name},0\n" for name in names))
    words = [path, "--media", videos(*names), "--seconds", 100, "--jobs", 1]
    script = (
        f"import sys; sys.path[:0] = [{str(HERE)!r}]\nimport hostile_decoding\nfrom slowfast.engine import check_data\n"
        "from slowfast.cli import main\ncheck_data.decode = hostile_decoding.decode\n"
        f"sys.exit(main({['check', *map(str, words)]!r}))"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    out = tmp_path / "l_check"
    while not (out / "journal.jsonl").exists() or len(journal(out)) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    if how != signal.SIGKILL:
        status, words_for_it = (130, "interrupted") if how == signal.SIGINT else (75, "stopped by SIGTERM")
        assert running.returncode == status
        assert f"slowfast: {words_for_it}; the same command goes on from here\n" in said
        assert "2 of 4 videos are checked, see" in said
    with open(out / "journal.jsonl", "ab") as file:
        file.write(b'{"path": "c.mp4", "fra')  # as a full disk leaves it
    assert check(*words) == 0
    assert "2 checked earlier, 2 to check" in capsys.readouterr().out
    assert journal(out) == {name: [("good", "")] for name in names}


def test_verdicts_of_other_checks_are_not_mixed(tmp_path, videos, capsys):
    path = write(tmp_path / "l.csv", "a.mp4,0\n")
    words = [path, "--media", videos("a.mp4")]
    assert check(*words) == 0
    assert check(*words, "--frames", "clip") == 2
    error = capsys.readouterr().err
    assert "frames was 'all', is 'clip'" in error and "--out" in error
    write(path, "a.mp4,1\n")
    assert check(*words) == 2
    assert "the list has changed" in capsys.readouterr().err
    write(tmp_path / "l_check" / "journal.jsonl", "something else\n")
    assert check(*words) == 2
    assert "not the journal of a check" in capsys.readouterr().err


def test_a_recipe_says_how_lists_are_read(tmp_path, videos, capsys):
    recipe = write(tmp_path / "r.yaml", "MODEL:\n  NUM_CLASSES: 2\nTRAIN:\n  DATASET: ssv2\n")
    folder = videos() / "one"
    folder.mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (32, 24)).save(folder / f"f{number}.png")
    path = write(tmp_path / "l.txt", "one 3 1\n")
    words = ["--cfg", recipe, "--media", tmp_path / "videos"]
    assert check(path, *words, "DATA.IMAGE_TEMPLATE", "f{}.png") == 0
    assert check(path, *words, "--out", tmp_path / "o") == 1
    assert "DATA.IMAGE_TEMPLATE is f{}.png" in rows(tmp_path / "o" / "bad.csv")[1][2]
    write(path, "one 3 2\n")
    assert check(path, *words) == 2
    assert "label 2 is outside 0..1" in capsys.readouterr().err


def test_without_a_recipe_names_of_pictures_are_found(tmp_path, videos):
    folder = videos() / "one"
    folder.mkdir()
    for number in range(1, 4):
        Image.new("RGB", (32, 24)).save(folder / f"shot{number:03d}.png")
    path = write(tmp_path / "l.txt", "gone 2 0\none 3 0\none 5 0\n")
    assert check(path, "--media", tmp_path / "videos") == 1
    found = rows(tmp_path / "l_check" / "bad.csv")[1:]
    assert [row[0] for row in found] == ["gone", "one"] and found[0][2] == "no such folder"
    assert found[1][2].startswith("shot004.png is missing: the list says 5 frames")
    assert (tmp_path / "l_check" / "good.csv").read_text() == "one 3 0\n"


@pytest.mark.parametrize("recipe", [None, "TRAIN:\n  DATASET: kinetics_sparse\n"])
def test_videos_in_shards_are_checked_there(tmp_path, videos, recipe):
    media = videos("a.mp4", "b.mp4")
    write(media / "b.mp4", "no video")
    with tarfile.open(media / "0.tar", "w") as tar:
        for name in ("a.mp4", "b.mp4"):
            tar.add(media / name, f"run/{name}")
    path = write(tmp_path / "l.csv", "run/a.mp4,0\nrun/b.mp4,0\nrun/c.mp4,0\n")
    words = ["--cfg", write(tmp_path / "r.yaml", recipe)] if recipe else []
    assert check(path, *words, "--media", media / "*.tar") == 1
    assert (tmp_path / "l_check" / "good.csv").read_text() == "run/a.mp4,0\n"
    assert "no such member" in rows(tmp_path / "l_check" / "bad.csv")[2][2]
    assert check(path, *words, "--media", media / "*.tar") == 1
    assert all(len(verdicts) == 1 for verdicts in journal(tmp_path / "l_check").values())


def test_data_sets_registered_from_outside_have_lists_of_their_own(tmp_path, capsys):
    recipe = write(tmp_path / "r.yaml", "TRAIN:\n  DATASET: mine\n")
    assert check(write(tmp_path / "l.csv", "a.mp4,0\n"), "--cfg", recipe) == 2
    assert "check the list without a recipe" in capsys.readouterr().err


def test_a_list_that_changes_meanwhile_is_told(tmp_path, videos, monkeypatch, capsys):
    path = write(tmp_path / "l.csv", "a.mp4,0\n")
    count = check_data.results.count_classes

    def change(*args):
        write(path, "a.mp4,0\nb.mp4,0\n")
        return count(*args)

    monkeypatch.setattr(check_data.results, "count_classes", change)
    assert check(path, "--media", videos("a.mp4")) == 2
    assert "changed while its videos were checked" in capsys.readouterr().err
    assert not (tmp_path / "l_check" / "good.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--jobs", "0"], "0 processes; write 1 or more"),
        (["--seconds", "0"], "a limit of 0 seconds"),
        (["--cfg", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["DATA.NUM_FRAMES", "8"], "give it with --cfg"),
    ],
)
def test_mistakes_are_told_in_one_message(tmp_path, capsys, words, said):
    path = write(tmp_path / "l.csv", "a.mp4,0\n")
    assert cli.main(["check", str(path), *words]) == 2
    assert said in capsys.readouterr().err
    assert check(tmp_path / "none.csv") == 2
    assert "no such file (video list)" in capsys.readouterr().err
    assert check(tmp_path / "a.mp4") == 2
    assert "a.mp4 is a video, not a list of them: give a text file with a path a line" in capsys.readouterr().err


def test_real_malformed_clips_are_named_and_stop_nothing(tmp_path):
    media = os.environ.get("SLOWFAST_TEST_MEDIA")
    if not media:
        pytest.skip(
            "SLOWFAST_TEST_MEDIA is not set: real malformed clips are not tested (generated ones are)"
        )
    clips = Path(media) / "clips"
    names = sorted(
        f"malformed/{path.name}" for path in (clips / "malformed").iterdir() if path.suffix != ".csv"
    )
    whole = ["mmaction2/test.avi", "torchvision/R6llTwEh07w.mp4"]
    path = write(tmp_path / "l.csv", "".join(f"{name},0\n" for name in [*whole, *names]))
    assert check(path, "--media", clips) == 1
    bad = {Path(name).name: reason for name, _, reason in rows(tmp_path / "l_check" / "bad.csv")[1:]}
    sound = {"avi_named.mp4", "one_frame.mp4", "three_frames.mp4"}  # see malformed.csv
    assert set(bad) == {Path(name).name for name in names} - sound and all(bad.values())
    assert bad["corrupt_middle.avi"] == "damaged: the header promises 49 frames, the file holds 9"
    assert bad["audio_only.mp4"] == "no video stream in the file"
    assert check(path, "--media", clips, "--keep-damaged") == 1
    good = (tmp_path / "l_check" / "good.csv").read_text().split(",0\n")
    assert set(good) == {*whole, "malformed/avi_named.mp4", "malformed/one_frame.mp4", "malformed/three_frames.mp4",
                         "malformed/truncated.avi", "malformed/corrupt_middle.avi", ""}  # fmt: skip


def test_the_tool_is_the_same_command():
    tool = HERE.parents[1] / "tools" / "check_data.py"
    done = subprocess.run([sys.executable, str(tool), "--help"], capture_output=True, text=True, check=True)
    for flag in ("--media", "--classes", "--cfg", "--out", "--jobs", "--seconds", "--memory-gb", "--frames"):
        assert flag in done.stdout
