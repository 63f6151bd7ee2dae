"""Unreadable training videos: named once, counted, and too many of them end the run."""

import csv
import logging
import os
import shutil
import signal
import threading

import pytest
import torch

from slowfast.datasets import video_dataset, watching
from slowfast.datasets.bad_files import FILE_NAME
from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.video_dataset import ItemReport
from slowfast.engine.bad_videos import MIN_TRIED, BadVideos, Replacements, open_account
from slowfast.engine.train import train
from slowfast.utils import checkpoint, seeds, stopping


@pytest.fixture
def account():
    return lambda fraction=0.5: BadVideos(
        lambda index: f"v{index}.mp4", fraction, logging.getLogger("slowfast.test")
    )


def bad(index, source):
    return ItemReport(index, source, ((index, "empty file"),))


def test_each_video_is_named_once(account, caplog):
    videos = account()
    with caplog.at_level("WARNING"):
        videos.add(
            [
                bad(3, 7),
                bad(3, 8),
                ItemReport(5, 5, (), "the header promises more"),
                ItemReport(5, 5, (), "the header promises more"),
            ]
        )
    assert videos.reasons == {3: "empty file"}
    assert [record.getMessage().count("v3.mp4: empty file") for record in caplog.records] == [1, 0]
    assert "v5.mp4: the header promises more" in caplog.records[1].getMessage()


def test_too_large_a_share_of_unreadable_videos_stops_the_run(account):
    videos = account(0.25)
    good = [ItemReport(index, index) for index in range(100, 100 + MIN_TRIED)]
    videos.add([bad(index, 100) for index in range(5)] + good)  # 5 of 25 tried
    with pytest.raises(
        ValueError, match=r"DATA.MAX_BAD_FRACTION = 0.25 .*\(\d of \d+ tried(.|\n)*v3.mp4: empty file"
    ):
        videos.add([bad(index, 100) for index in range(5, 9)])


def test_a_long_list_ends_in_the_file_that_has_all():
    videos = BadVideos(
        "v{}.mp4".format, 0.5, logging.getLogger("slowfast.test"), listed_in="run/bad_videos.csv"
    )
    with pytest.raises(
        ValueError, match=r"v19.mp4: empty file\n  and 3 more\n  all of them: run/bad_videos.csv$"
    ):
        videos.add([bad(index, 99) for index in range(23)])


def test_a_video_is_tried_once_however_often_it_is_read(account):
    videos = account(0.25)
    for _ in range(3):  # 2 of 20 tried: with repetitions counted, 4 of them would have to be bad
        videos.add([bad(0, 999_999), bad(1, 999_999), *(ItemReport(index, index) for index in range(2, 19))])
    with pytest.raises(ValueError, match=r"6 of 20 tried"):
        videos.add([bad(index, 2) for index in range(2, 6)])


def test_a_video_without_any_readable_replacement_stops_the_run(account):
    with pytest.raises(
        ValueError, match=r"every replacement(.|\n)*v1.mp4: empty file(.|\n)*v2.mp4: no such file"
    ):
        account(1.0).add([ItemReport(0, -1, ((1, "empty file"), (2, "no such file")))])


def test_the_count_goes_on_from_a_checkpoint(account, tmp_path):
    first, whole = account(0.25), account(0.25)
    begin = [bad(index, 99) for index in range(5)] + [ItemReport(index, index) for index in range(100, 114)]
    for videos in (first, whole):
        videos.add(begin)  # 5 of 20 tried
    checkpoint.save({"bad_videos": first.state(), "epoch": 0}, tmp_path / "state.pyth")
    resumed = account(0.25)
    resumed.load_state(checkpoint.load(tmp_path / "state.pyth")["bad_videos"])
    assert resumed.reasons == whole.reasons
    for videos in (resumed, whole):
        videos.add([bad(3, 100), ItemReport(100, 100)])  # nothing new
        with pytest.raises(ValueError, match=r"6 of 21 tried"):
            videos.add([bad(7, 100)])


def test_an_account_without_any_video_is_a_state_too(account):
    videos = account()
    videos.load_state(account().state())
    assert videos.reasons == {} and videos.state()["tried"].dtype == torch.int64


def test_found_ones_are_told_once_and_deadlines_with_their_replacement(tmp_path):
    late = "not read within 3 seconds (DATA_LOADER.DEADLINE_SECONDS)"
    found, name = [], "v{}.mp4".format
    for _ in range(2):  # the second is a run that goes on from before
        replaced = Replacements(tmp_path, name).add
        videos = BadVideos(
            name, 1.0, logging.getLogger("slowfast.test"), lambda *what: found.append(what), replaced
        )
        videos.add([bad(1, 7), ItemReport(2, 8, ((2, late),)), ItemReport(2, 8, ((2, late),))], epoch=4)
        videos.add([ItemReport(3, 9, ((3, "empty file"), (2, late)))], epoch=5)
    assert found[:3] == [(1, "empty file"), (2, late), (3, "empty file")]
    assert (tmp_path / "deadline_replacements.csv").read_text() == (
        "epoch,sample,replacement\n5,v2.mp4,v8.mp4\n6,v3.mp4,v9.mp4\n"
    )


def test_a_data_set_from_elsewhere_has_an_account_without_a_memory(tmp_path):
    class Foreign:
        def name(self, index):
            return f"foreign {index}"

    open_account(tmp_path, Foreign(), 0.5, logging.getLogger("slowfast.test")).add([bad(1, 2)])
    assert list(tmp_path.iterdir()) == []


# Training runs -----
def broken(monkeypatch, paths, act):
    """From now on ``act`` is called with the path when one of these is opened."""

    def opened(path, threads=1):
        if str(path) in paths:
            act(path)
        return open_video(path, threads=threads)

    monkeypatch.setattr(video_dataset, "open_video", opened)


def unreadable(path):
    raise UnreadableVideo("broken")


def not_again(path):
    raise AssertionError(f"{path} was opened again")


def crash(path):
    os.kill(os.getpid(), signal.SIGSEGV)
    threading.Event().wait()


def hang(path):
    watching._row[watching._SINCE] = 1  # it has been reading since the machine was started
    threading.Event().wait()


@pytest.fixture
def victims(debug_cfg, debug_data):
    """Paths of two training videos: one of the first step of the first epoch, one of the last."""
    order = seeds.numpy_generator(debug_cfg().RNG_SEED, "order", 0).permutation(24)
    lines = (debug_data / "train.csv").read_text().splitlines()
    return [os.path.join(str(debug_data), lines[index].rsplit(" ", 1)[0]) for index in order[[3, -2]]]


def assert_same_weights(one, other):
    one, other = (checkpoint.load(result["checkpoint"]) for result in (one, other))
    for name, value in one["model_state"].items():
        assert torch.equal(value, other["model_state"][name]), name
    assert one["bad_videos"]["reasons"].keys() == other["bad_videos"]["reasons"].keys()
    assert torch.equal(one["bad_videos"]["tried"], other["bad_videos"]["tried"])


def test_a_run_that_goes_on_replaces_what_it_knows_without_opening_it(
    debug_cfg, tmp_path, monkeypatch, victims
):
    broken(monkeypatch, victims, unreadable)
    whole = train(debug_cfg("OUTPUT_DIR", str(tmp_path / "whole")))
    with monkeypatch.context() as patch:
        patch.setattr(stopping, "asked", lambda: 15)
        with pytest.raises(stopping.Stopped, match="after step 1 of 3 of epoch 1"):
            train(debug_cfg())
    with open(tmp_path / "run" / FILE_NAME) as file:
        ((path, reason),) = [(row["path"], row["reason"]) for row in csv.DictReader(file)]
    assert victims[0].endswith(path) and reason == "broken"

    def only_the_other(path):
        assert str(path) == victims[1], f"{path} was opened again"
        unreadable(path)

    broken(monkeypatch, victims, only_the_other)
    assert_same_weights(whole, train(debug_cfg("DATA_LOADER.NUM_WORKERS", "0")))
    assert "1 video known to be unreadable and not opened" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(("act", "is_late"), [(crash, False), (hang, True)])
def test_a_run_survives_what_its_decoder_does_not(debug_cfg, tmp_path, monkeypatch, victims, act, is_late):
    broken(monkeypatch, victims[:1], unreadable)
    plain = train(debug_cfg("OUTPUT_DIR", str(tmp_path / "plain")))
    broken(monkeypatch, victims[:1], act)
    one_epoch = ("DATA_LOADER.NUM_WORKERS", "1", "DATA_LOADER.DEADLINE_SECONDS", "60")
    survived = train(debug_cfg(*one_epoch))
    assert_same_weights(plain, survived)
    ((path, reason),) = survived["unreadable"].items()
    assert victims[0].endswith(path) and watching.is_late(reason) is is_late
    log = tmp_path / "run" / "deadline_replacements.csv"
    assert log.exists() is is_late
    if is_late:
        assert log.read_text().splitlines()[1].startswith(f"1,{path},clips/train/")
    broken(monkeypatch, victims[:1], not_again)  # nor does a new run in the same folder
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert_same_weights(plain, train(debug_cfg("DATA_LOADER.NUM_WORKERS", "0")))


def test_a_worker_that_is_killed_by_chance_changes_nothing(debug_cfg, tmp_path, monkeypatch, victims):
    plain = train(debug_cfg("OUTPUT_DIR", str(tmp_path / "plain")))

    def killed_once(path):
        mark = tmp_path / "killed"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()

    broken(monkeypatch, victims, killed_once)
    survived = train(debug_cfg("DATA_LOADER.NUM_WORKERS", "1"))
    assert (tmp_path / "killed").exists() and survived["unreadable"] == {}
    assert_same_weights(plain, survived)
    assert not (tmp_path / "run" / FILE_NAME).exists()
