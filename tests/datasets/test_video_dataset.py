"""One item, one video, opened once; the same item wherever and whenever it is read; bad files are values."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from slowfast.datasets import annotations, rand_augment, video_dataset
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frames import open_video
from slowfast.datasets.loader import VideoLoader, Workers
from slowfast.datasets.orders import TrainOrder
from slowfast.datasets.pipeline import EvalViews, TrainViews, empty_views
from slowfast.datasets.synthetic import render_clip
from slowfast.datasets.video_dataset import VideoDataset, read_clips
from slowfast.datasets.video_writer import write_video

NUM_VIDEOS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six good clips with labels 0..5, then an empty file, a text file and a missing one."""
    folder = tmp_path_factory.mktemp("videos")
    lines = []
    for label in range(NUM_VIDEOS):
        frames = render_clip(label, np.random.default_rng(label), num_frames=20, height=40, width=56)
        write_video(folder / f"{label}.mp4", frames, 12)
        lines.append(f"{label}.mp4 {label}")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n")
    (folder / "good.csv").write_text("\n".join(lines) + "\n")
    (folder / "all.csv").write_text("\n".join([*lines, "empty.mp4 6", "text.mp4 6", "missing.mp4 7"]) + "\n")
    return folder


def table(folder, name):
    return annotations.read_list(folder / name, num_classes=8, prefix=str(folder))


def train_set(folder, name="good.csv", num_copies=2, seed=3):
    views = TrainViews(
        crop_size=32,
        policy=rand_augment.parse_policy("rand-m7-n4-mstd0.5-inc1"),
        area=(0.3, 1.0),
        aspect=(0.75, 1.3333),
        erase_probability=0.5,
    )
    return VideoDataset(
        table=table(folder, name),
        sampler=ClipSampler(num_frames=4, sampling_rate=3, num_clips=None),
        make_views=views,
        views_per_video=num_copies,
        empty_views=empty_views(4, 32),
        seed=seed,
        num_copies=num_copies,
        replace_unreadable=True,
    )


def evaluation_set(folder, clips, crops, name="good.csv"):
    return VideoDataset(
        table=table(folder, name),
        sampler=ClipSampler(num_frames=4, sampling_rate=3, num_clips=clips),
        make_views=EvalViews(scale=32, crop_size=32, num_crops=crops),
        views_per_video=clips * crops,
        empty_views=empty_views(4, 32),
        seed=3,
    )


def flat(item):
    views = item.views
    return [views.clips, views.view_ids, views.erase_boxes, views.noise_seeds, item.labels]


def assert_same(one, other):
    assert one.report == other.report
    for a, b in zip(flat(one), flat(other), strict=True):
        assert torch.equal(a, b)


def test_an_item_is_a_function_of_seed_epoch_and_index(folder):
    data = train_set(folder)
    first = {(epoch, index): data[epoch, index] for epoch in (0, 1) for index in range(NUM_VIDEOS)}
    torch.manual_seed(99)
    np.random.seed(99)
    for key in reversed(first):
        assert_same(train_set(folder)[key], first[key])
    assert not torch.equal(first[0, 1].views.clips, first[1, 1].views.clips)
    assert not torch.equal(first[0, 1].views.clips, train_set(folder, seed=4)[0, 1].views.clips)
    copies = first[0, 1].views
    assert not torch.equal(copies.clips[0], copies.clips[1])
    assert copies.noise_seeds[0] != copies.noise_seeds[1]


@pytest.mark.parametrize(("workers", "method"), [(0, ""), (1, "fork"), (3, "fork"), (1, "spawn")])
def test_batches_are_equal_with_any_number_of_workers_forked_or_spawned(folder, workers, method):
    data = train_set(folder)
    order = TrainOrder(NUM_VIDEOS, 2, seed=3)
    options = {"num_workers": workers, "pin_memory": False, "persistent": True, "start_method": method}
    loader = VideoLoader(data, order, Workers([data], **options))
    for epoch in (1, 2):
        batches = list(loader.epoch(epoch))
        assert len(batches) == 3
        for batch in batches:
            assert batch.clips.shape == (4, 4, 32, 32, 3)
            for place, report in enumerate(batch.reports):
                expected = data[epoch, report.index]
                assert torch.equal(batch.clips[2 * place : 2 * place + 2], expected.views.clips)


def test_no_global_stream_is_read_or_set(folder):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    data = train_set(folder)
    workers = Workers([data], num_workers=1, pin_memory=False, persistent=False)
    list(VideoLoader(data, TrainOrder(NUM_VIDEOS, 2, 1), workers))
    data[0, 0]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("make", [lambda f: evaluation_set(f, 4, 1), lambda f: evaluation_set(f, 5, 3), train_set])
def test_a_video_is_opened_once_for_all_its_views(folder, monkeypatch, make):
    opened = []
    original = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args) or original(*args, **kwargs))
    data = make(folder)
    item = data[0, 2]
    assert len(item.views.clips) == data.views_per_video
    assert len(opened) == 1


def test_test_views_are_clips_times_crops_in_order(folder):
    many, centre = evaluation_set(folder, 5, 3)[0, 0], evaluation_set(folder, 5, 1)[0, 0]
    assert many.views.view_ids.tolist() == list(range(15))
    assert many.labels.tolist() == [0] * 15
    assert torch.equal(many.views.clips[1::3], centre.views.clips)  # crop 1 of 3 is the centre
    assert not torch.equal(many.views.clips[0], many.views.clips[3])


@pytest.mark.parametrize("rule", ["dense", "segments"])
@pytest.mark.parametrize("order", ["forward", "shuffled"])
def test_several_numbers_of_clips_come_from_one_decode(folder, monkeypatch, rule, order):
    """Each has the pixels that a test with it alone has; equal clips, as 1 and the middle of 3, travel once."""
    single = {
        count: replace(data, sampler=replace(data.sampler, rule=rule, frame_order=order))[0, 2]
        for count in (3, 1, 5)
        for data in [evaluation_set(folder, count, 3)]
    }
    data = evaluation_set(folder, 3, 3)
    sampler = replace(data.sampler, rule=rule, frame_order=order, other_counts=(1, 5))
    opened = []
    original = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args) or original(*args, **kwargs))
    item = replace(data, sampler=sampler)[0, 2]
    assert len(opened) == 1
    assert item.views.view_ids.tolist() == list(range(3 * (3 + 1 + 5)))
    shown = item.views.clips[item.views.rows]
    expected = [single[count].views for count in (3, 1, 5)]
    assert torch.equal(shown, torch.cat([views.clips[views.rows] for views in expected]))
    if order == "forward":
        assert len(item.views.clips) == len(item.labels) < len(shown)


@pytest.mark.parametrize(
    ("index", "reason"), [(6, "empty file"), (7, "not a readable video"), (8, "no such file")]
)
def test_an_unreadable_video_is_no_views_and_a_reason(folder, index, reason):
    item = evaluation_set(folder, 2, 3, "all.csv")[0, index]
    assert len(item.views.clips) == len(item.labels) == 0
    assert not item.report.readable
    ((failed, why),) = item.report.failures
    assert failed == index and reason in why


def test_training_replaces_an_unreadable_video_from_the_items_own_generator(folder):
    data = train_set(folder, "all.csv")
    item = data[0, 6]
    assert item.report.readable and item.report.source < NUM_VIDEOS and item.report.index == 6
    assert item.report.failures[0] == (6, "empty file")
    assert item.labels.tolist() == [item.report.source] * 2
    assert_same(item, train_set(folder, "all.csv")[0, 6])
    others = {data[epoch, 6].report.source for epoch in range(8)}
    assert len(others) > 1


def test_a_video_too_large_for_memory_is_unreadable(folder):
    def open_media(table, index):
        if index == 4:
            np.empty((2**20, 2**20, 2**20), np.uint8)  # more than a process can ask for
        return open_video(table.path(index))

    report = replace(evaluation_set(folder, 2, 3), open_media=open_media)[0, 4].report
    assert (report.source, report.failures) == (-1, ((4, "needs more memory than there is"),))
    report = replace(train_set(folder), open_media=open_media)[0, 4].report
    assert report.readable and report.failures == ((4, "needs more memory than there is"),)


@pytest.mark.parametrize("number", [6, 7, 8])
def test_a_known_bad_file_yields_what_failing_to_read_it_would(folder, number, monkeypatch):
    data = train_set(folder, "all.csv")
    expected = [data[epoch, number] for epoch in range(4)]
    reasons = dict(failure for item in expected for failure in item.report.failures)
    opened = []
    monkeypatch.setattr(
        video_dataset, "open_video", lambda path, threads: opened.append(path) or open_video(path)
    )
    known = replace(data, known_bad=reasons)
    for epoch, item in enumerate(expected):
        assert_same(known[epoch, number], item)
    assert opened == [data.table.path(item.report.source) for item in expected]


def test_a_known_bad_file_is_not_scored_in_evaluation(folder):
    report = replace(evaluation_set(folder, 2, 3), known_bad={4: "crashes"})[0, 4].report
    assert (report.source, report.failures) == (-1, ((4, "crashes"),))


def test_a_list_without_one_readable_video_gives_empty_items(folder):
    lines = folder / "bad.csv"
    lines.write_text("empty.mp4 0\ntext.mp4 1\n")
    item = train_set(folder, "bad.csv")[0, 0]
    assert len(item.views.clips) == 0
    assert {index for index, _ in item.report.failures} == {0, 1}


class ShortReader:
    """Promises 20 frames and holds 12."""

    fps, damage = 10.0, ""

    def __init__(self):
        self.num_frames, self.asked = 20, []

    def read(self, indices):
        from slowfast.datasets.frames import EndOfVideo

        self.asked.append(list(indices))
        if max(indices) >= 12:
            self.num_frames = 12
            raise EndOfVideo(12)
        return np.zeros((len(indices), 8, 8, 3), np.uint8)


def test_a_video_shorter_than_its_packets_promise_is_sampled_anew():
    sampler, reader = ClipSampler(num_frames=4, sampling_rate=2, num_clips=2), ShortReader()
    clips, _ = read_clips(reader, sampler, lambda: np.random.default_rng(0))
    assert clips.shape == (2, 4, 8, 8, 3)
    assert reader.asked == [[0, 2, 4, 7, 12, 14, 16, 19], [0, 2, 4, 7, 4, 6, 8, 11]]


def test_several_labels_become_a_multi_hot_row(folder):
    lines = folder / "multi.csv"
    lines.write_text("0.mp4 1;3\n1.mp4 2\n")
    listed = annotations.read_list(lines, num_classes=5, multi_label=True, prefix=str(folder))
    data = replace(evaluation_set(folder, 1, 1), table=listed, multi_label=True, num_classes=5)
    assert data[0, 0].labels.tolist() == [[0, 1, 0, 1, 0]]


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_the_order_of_frames_can_be_taken_away(folder, order):
    forward = evaluation_set(folder, 1, 1)
    changed = replace(forward, sampler=replace(forward.sampler, frame_order=order))
    frames, others = forward[0, 0].views.clips[0], changed[0, 0].views.clips[0]
    assert not torch.equal(others, frames)
    if order == "reversed":
        assert torch.equal(others, frames.flip(0))
    assert sorted(frame.sum().item() for frame in frames) == sorted(frame.sum().item() for frame in others)


def test_a_jittered_rate_shortens_random_clips_alone():
    """Span: 8 x 6 frames at 20 + U(0, 10) a second, of a video of 40 a second: 96 frames down to 64."""
    sampler = ClipSampler(8, 6, None, unit="seconds", target_fps=20.0, jitter_fps=10.0)
    rng = np.random.default_rng(0)
    spans = [np.ptp(sampler(500, 40.0, rng)[0]) for _ in range(200)]
    assert 62 <= min(spans) <= 65 and 93 <= max(spans) <= 96
    assert 75 <= np.mean(spans) <= 79  # 192 ln(1.5) - 1 = 76.8
    fixed = replace(sampler, num_clips=1)
    assert np.ptp(fixed(500, 40.0, rng)[0]) == 95
