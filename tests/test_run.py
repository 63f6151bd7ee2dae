"""The command line end to end: one process, several processes, and everything a user can get wrong."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slowfast import cli

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"


def run_net(*words, shards=1, **environment):
    """Run tools/run_net.py in one process per shard; returns the finished processes."""
    command = [sys.executable, str(ROOT / "tools" / "run_net.py"), "--cfg", str(RECIPE), *map(str, words)]
    if shards > 1:
        command += ["--num_shards", str(shards), "--init_method", f"tcp://127.0.0.1:{free_port()}"]
    started = [
        subprocess.Popen(
            [*command, "--shard_id", str(shard)] if shards > 1 else command,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )
        for shard in range(shards)
    ]  # fmt: skip
    return [finish(process) for process in started]


def finish(process):
    out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def trained(debug_data, tmp_path_factory):
    """A run of the debug recipe through the command line: (folder, data options)."""
    folder = tmp_path_factory.mktemp("trained")
    data = ["DATA.PATH_TO_DATA_DIR", debug_data, "DATA.PATH_PREFIX", debug_data, "NUM_THREADS", "1"]
    (done,) = run_net(*data, "--opts", "OUTPUT_DIR", folder)
    assert done.returncode == 0, done.stderr
    return folder, data


def test_one_command_trains_tests_and_leaves_results(trained, debug_data):
    folder, _ = trained
    results = json.loads((folder / "results.json").read_text())
    assert results["num_scored"] == results["num_total"] == 16
    assert results["views"] == "4x3x2" and results["recipe"].endswith("uniformer_debug.yaml")
    assert set(results["video"]) == {"top1", "top5"} and set(results["clip"]) == {"top1"}
    assert results["versions"]["torch"] and results["hardware"]["cpu"] and "commit" in results
    assert results["unreadable"] == []
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = [line.split()[0] for line in (debug_data / "test.csv").read_text().splitlines()]
    assert [row["path"] for row in rows] == listed
    hits = sum(row["label"] == row["predicted"] for row in rows)
    assert results["video"]["top1"] == pytest.approx(100 * hits / 16)
    assert float(rows[0]["top1_prob"]) == float(rows[0]["probability"])
    with open(folder / "per_class.csv", newline="") as file:
        classes = list(csv.DictReader(file))
    assert [row["name"] for row in classes] == (debug_data / "classes.txt").read_text().splitlines()
    assert sum(int(row["correct"]) for row in classes) == hits
    assert sum(int(row["videos"]) for row in classes) == sum(int(row["predicted"]) for row in classes) == 16


def test_scores_hold_every_view_and_give_the_predictions(trained):
    folder, _ = trained
    with np.load(folder / "scores.npz") as scores:
        logits, videos, views = scores["logits"], scores["video_ids"], scores["view_ids"]
    assert logits.shape == (16 * 6, 8)
    assert videos.tolist() == np.repeat(np.arange(16), 6).tolist()
    assert views.tolist() == list(range(6)) * 16
    with open(folder / "predictions.csv", newline="") as file:
        predicted = [int(row["predicted"]) for row in csv.DictReader(file)]
    assert logits.reshape(16, 6, 8).sum(axis=1).argmax(axis=1).tolist() == predicted


@pytest.mark.parametrize("shards", [2, 3])
def test_several_processes_score_as_one_to_the_byte(trained, tmp_path, shards):
    folder, data = trained
    words = [
        "TRAIN.ENABLE",
        "False",
        "OUTPUT_DIR",
        tmp_path,
        "TEST.CHECKPOINT_FILE_PATH",
        folder / "best.pyth",
    ]
    alone = tmp_path / "alone"
    (one,) = run_net(*data, *words[:2], "OUTPUT_DIR", alone, *words[4:])
    assert one.returncode == 0, one.stderr
    for done in run_net(*data, *words, shards=shards):
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions.csv").read_bytes() == (alone / "predictions.csv").read_bytes()
    with np.load(tmp_path / "scores.npz") as many, np.load(alone / "scores.npz") as single:
        assert all(np.array_equal(many[name], single[name]) for name in single.files)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs to look into a process")
def test_a_signal_while_torch_is_loaded_ends_a_run_as_later_ones_do(trained, tmp_path):
    _, data = trained
    words = [str(ROOT / "tools" / "run_net.py"), "--cfg", str(RECIPE), *map(str, data), "OUTPUT_DIR", str(tmp_path)]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.returncode == 75, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("slowfast: stopped by SIGTERM ")]


def test_tasks_of_srun_score_as_one_also_where_one_has_nothing_to_do(trained, debug_data, tmp_path):
    """Three videos are two groups, of two videos and of one, so that the third process has none."""
    folder, data = trained
    lists = tmp_path / "lists"
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("clips"))
    test = (lists / "test.csv").read_text().splitlines()
    (lists / "test.csv").write_text("\n".join(test[:3]) + "\n")
    words = [*data, "DATA.PATH_TO_DATA_DIR", lists, "TRAIN.ENABLE", "False",
             "TEST.CHECKPOINT_FILE_PATH", folder / "best.pyth", "OUTPUT_DIR"]  # fmt: skip
    place = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3",
             "SLURM_STEP_TASKS_PER_NODE": "3", "SLURM_STEP_NODELIST": "localhost"}  # fmt: skip
    command = [sys.executable, ROOT / "tools" / "run_net.py", "--cfg", RECIPE, *words, tmp_path / "tasks"]
    tasks = [
        subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **place, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(3)
    ]  # fmt: skip
    for done in map(finish, tasks):
        assert done.returncode == 0, done.stderr
    (one,) = run_net(*words, tmp_path / "alone")
    assert one.returncode == 0, one.stderr
    for name in ("predictions.csv", "scores.npz"):
        assert (tmp_path / "tasks" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert "3 process(es), 3 of them here" in (tmp_path / "tasks" / "log.txt").read_text()
    assert len((tmp_path / "tasks" / "predictions.csv").read_text().splitlines()) == 1 + 3


def test_two_processes_train_together_and_validate_what_they_save(debug_data, tmp_path):
    lists = tmp_path / "lists"
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("clips"))
    train = (lists / "train.csv").read_text().splitlines()
    (lists / "train.csv").write_text("\n".join([*train[:-2], "gone_0.mp4 1", "gone_1.mp4 2"]) + "\n")
    shutil.copy(lists / "val.csv", lists / "test.csv")
    data = ["DATA.PATH_TO_DATA_DIR", lists, "DATA.PATH_PREFIX", debug_data, "NUM_THREADS", "1"]
    views = ["TEST.NUM_ENSEMBLE_VIEWS", "1", "TEST.NUM_SPATIAL_CROPS", "1"]
    both = run_net(*data, *views, "OUTPUT_DIR", tmp_path / "run", "TRAIN.BATCH_SIZE", "4", "SOLVER.MAX_EPOCH", "1",
                   "SOLVER.WARMUP_EPOCHS", "0.0", "DATA.USE_OFFSET_SAMPLING", "True", shards=2)  # fmt: skip
    for done in both:
        assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (epoch,) = [record for record in records if record.get("_type") == "train_epoch"]
    assert epoch["global_step"] == 3  # 24 videos, 4 for each of two processes a step
    # With one centre view per video, the test of the saved checkpoint in one process repeats the validation.
    words = ["TRAIN.ENABLE", "False", "OUTPUT_DIR", tmp_path / "alone", "TEST.CHECKPOINT_FILE_PATH"]
    (alone,) = run_net(*data, *views, *words, tmp_path / "run" / "best.pyth")
    assert alone.returncode == 0, alone.stderr
    results = json.loads((tmp_path / "alone" / "results.json").read_text())
    (val,) = [record for record in records if record.get("_type") == "val_epoch"]
    assert results["video"]["top1"] == pytest.approx(100 - val["top1_err"])
    # Whichever process drew them, the log of the main one names the videos that could not be read.
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "gone_0.mp4: no such file" in log and "gone_1.mp4: no such file" in log


def test_torchrun_starts_the_same_run(trained, tmp_path):
    folder, data = trained
    newest = folder / "checkpoints" / "checkpoint_epoch_00002.pyth"
    torchrun = ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    options = [
        "TRAIN.ENABLE",
        "False",
        "OUTPUT_DIR",
        tmp_path,
        "TEST.CHECKPOINT_FILE_PATH",
        newest,
    ]
    script = [ROOT / "tools" / "run_net.py", "--cfg", RECIPE]
    command = [sys.executable, "-m", *map(str, [*torchrun, *script, *data, *options])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()
    assert (
        "NUM_SHARDS: 2" in (tmp_path / "config.yaml").read_text()
    )  # a batch is what --num_shards 2 would make it


def test_unreadable_test_videos_are_counted_and_named(trained, debug_data, tmp_path):
    folder, data = trained
    lists = tmp_path / "lists"
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("clips"))
    (tmp_path / "cut.mp4").write_bytes(next((debug_data / "clips" / "test").iterdir()).read_bytes()[:500])
    with open(lists / "test.csv", "a") as file:
        file.write(f"{tmp_path}/cut.mp4 3\n{tmp_path}/none.mp4 4\n{tmp_path} 5\n")
    (done,) = run_net(*data, "DATA.PATH_TO_DATA_DIR", lists, "TRAIN.ENABLE", "False", "OUTPUT_DIR", tmp_path / "out",
                      "TEST.CHECKPOINT_FILE_PATH", folder / "best.pyth")  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["num_scored"], results["num_total"]) == (16, 19)
    assert results["num_views_missing"] == 3 * 6
    for name, value in results["video"].items():  # percent of the 16, and of all 19
        assert results["video_missing_wrong"][name] == pytest.approx(value * 16 / 19)
    assert "18 views and so 3 videos are missing; counted as wrong: top1 " in done.stdout
    reasons = {entry["path"]: entry["reason"] for entry in results["unreadable"]}
    assert set(reasons) == {f"{tmp_path}/cut.mp4", f"{tmp_path}/none.mp4", str(tmp_path)}
    assert "no such file" in reasons[f"{tmp_path}/none.mp4"] and "folder" in reasons[str(tmp_path)]
    assert "unreadable" in done.stdout and "cut.mp4" in done.stdout


def fails(capsys, *words):
    """Run in this process; returns the one message on stderr of a run that ends with exit status 2."""
    assert cli.main(["run", "--cfg", str(RECIPE), *map(str, words)]) == cli.USER_ERROR
    message = capsys.readouterr().err
    assert message.startswith("slowfast: error: ") and "Traceback" not in message
    return message


class TestMistakes:
    """Each ends in one clear message, exit status 2 and no traceback."""

    @pytest.fixture
    def lists(self, debug_data, tmp_path):
        folder = tmp_path / "lists"
        shutil.copytree(debug_data, folder, ignore=shutil.ignore_patterns("clips"))
        return folder

    @pytest.fixture
    def words(self, debug_options, lists):
        return [*debug_options, "DATA.PATH_TO_DATA_DIR", lists]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "train.csv: no videos"),
            ("clips/a.mp4 99\n", "train.csv:1: label 99 is outside 0..7"),
            ("a.mp4,1\n", None),
            ("path label\n", "train.csv:1: no label in 'path label'"),
        ],
    )
    def test_a_wrong_list_is_named_with_its_line(self, capsys, words, lists, content, message):
        (lists / "train.csv").write_text(content)
        if message is None:
            words, message = (
                [*words, "DATA.PATH_LABEL_SEPARATOR", " "],
                "train.csv:1: no space between path and label",
            )
        assert message in fails(capsys, *words)

    def test_a_missing_list(self, capsys, words, lists):
        (lists / "val.csv").unlink()
        assert "val.csv: no such file" in fails(capsys, *words)

    def test_a_missing_test_list_is_found_before_training(self, capsys, words, lists, tmp_path):
        (lists / "test.csv").unlink()
        assert "test.csv: no such file" in fails(capsys, *words)
        assert not (tmp_path / "run" / "checkpoints").exists()
        assert "the run ends" in (tmp_path / "run" / "log.txt").read_text()

    def test_class_names_that_do_not_fit(self, capsys, words, lists):
        (lists / "classes.txt").write_text("one\ntwo\n")
        assert "2 class names, but MODEL.NUM_CLASSES is 8" in fails(capsys, *words)

    def test_an_unknown_key_names_the_nearest(self, capsys, words):
        message = fails(capsys, *words, "TRAIN.BATCHSIZE", "4")
        assert "unknown key TRAIN.BATCHSIZE" in message and "TRAIN.BATCH_SIZE" in message

    def test_contradictions_are_reported_together(self, capsys, words):
        message = fails(capsys, *words, "TEST.NUM_SPATIAL_CROPS", "2", "DATA.MULTI_LABEL", "True")
        assert "NUM_SPATIAL_CROPS" in message and "MULTI_LABEL" in message

    def test_a_file_that_is_no_checkpoint(self, capsys, words, tmp_path):
        (tmp_path / "fake.pyth").write_text("not a checkpoint")
        message = fails(capsys, *words, "TRAIN.INIT", tmp_path / "fake.pyth")
        assert "fake.pyth" in message and "checkpoint" in message

    def test_a_checkpoint_of_another_model(self, capsys, words, trained):
        folder, _ = trained
        message = fails(
            capsys, *words, "TRAIN.INIT", folder / "best.pyth", "UNIFORMER.EMBED_DIM", "[8, 16, 32, 16]"
        )
        assert "blocks3.0" in message

    def test_nothing_to_test(self, capsys, words):
        assert "TEST.CHECKPOINT_FILE_PATH" in fails(capsys, *words, "TRAIN.ENABLE", "False")
        assert "best.pyth" in fails(capsys, *words, "TRAIN.ENABLE", "False", "TEST.TEST_BEST", "True")

    def test_published_weights_that_are_not_there(self, capsys, words):
        message = fails(capsys, *words, "UNIFORMER.PRETRAIN_NAME", "uniformer_small_in1k")
        assert "uniformer_small_in1k" in message and "scratch" in message

    def test_an_output_folder_that_cannot_be_written(self, capsys, words, tmp_path):
        (tmp_path / "file").touch()
        message = fails(capsys, *words, "OUTPUT_DIR", tmp_path / "file" / "run")
        assert str(tmp_path / "file") in message and "is a file; name another folder" in message

    def test_more_gpus_than_there_are(self, capsys, words):
        assert "NUM_GPUS 0 to run on the CPU" in fails(capsys, *words, "NUM_GPUS", "64", "TRAIN.BATCH_SIZE", "64",
                                                     "TEST.BATCH_SIZE", "64")  # fmt: skip

    def test_a_disk_that_fills_up_keeps_the_good_checkpoint(self, capsys, words, monkeypatch, tmp_path):
        assert cli.main(["run", "--cfg", str(RECIPE), *map(str, words), "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS",
                         "0.0", "TEST.ENABLE", "False"]) == 0  # fmt: skip
        kept = tmp_path / "run" / "checkpoints" / "checkpoint_epoch_00001.pyth"
        before = kept.read_bytes()

        fsync = os.fsync

        def full(descriptor):
            if ".pyth" in os.readlink(f"/proc/self/fd/{descriptor}"):
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        message = fails(capsys, *words, "SOLVER.MAX_EPOCH", "2", "TEST.ENABLE", "False")
        assert "checkpoint_step_00000006.pyth" in message and "No space left on device" in message
        assert "The same command goes on after step 3, saved before" in message
        assert kept.read_bytes() == before
        assert [path.name for path in kept.parent.iterdir()] == [kept.name]
