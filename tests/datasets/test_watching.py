"""Workers that crash, hang or are killed: the video is named and replaced like an unreadable one, the pass goes on."""

import os
import signal
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from slowfast.datasets import watching
from slowfast.datasets.loader import VideoLoader, Workers
from slowfast.datasets.orders import EvalOrder, TrainOrder
from slowfast.datasets.pipeline import Views
from slowfast.datasets.video_dataset import ItemReport, VideoDataset, VideoItem
from slowfast.datasets.watching import Watch, is_late

SEGFAULT, KILL, EXIT, HANG = "segfault", "kill", "exit", "hang"
DEADLINE = 60.0  # seconds, which no test waits for


def fault(kind):
    if kind == SEGFAULT:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == EXIT:
        os._exit(3)
    watching._row[watching._SINCE] = 1  # it has been reading since the machine was started
    threading.Event().wait()  # for ever, as nobody sets it; a signal, too, takes an instant to arrive


class Table:
    """Stands for a list: entry i is called v<i>.mp4."""

    def __len__(self):
        return 12

    def name(self, index):
        return f"v{index}.mp4"

    def label(self, index):
        return index


class Reader:
    num_frames, fps, damage = 4, 10.0, ""

    def __init__(self, index):
        self.index = index

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def read(self, indices):
        return np.full((len(indices), 4, 4, 3), self.index, np.uint8)


@dataclass
class Media:
    """Opens entries of `Table`, of which some do something to the process that opens them.

    ``once`` is a folder where an entry leaves a file when it has done it, to be read well from then on.
    """

    faults: dict
    once: str = ""
    opened: list = field(default_factory=list)

    def __call__(self, table, index):
        self.opened.append(index)
        kind = self.faults.get(index)
        if kind and self.once:
            mark = os.path.join(self.once, str(index))
            if os.path.exists(mark):
                kind = None
            else:
                open(mark, "w").close()
        if kind:
            fault(kind)
        return Reader(index)


def first_frames(length, fps, rng):
    return np.zeros((1, 2), dtype=np.int64)


def as_it_is(clips, rngs):
    return Views.of(clips)


def videos(media, replace_unreadable=True, known_bad=None):
    return VideoDataset(
        table=Table(),
        sampler=first_frames,
        make_views=as_it_is,
        views_per_video=1,
        empty_views=Views.of(torch.zeros((0, 2, 4, 4, 3), dtype=torch.uint8)),
        seed=7,
        replace_unreadable=replace_unreadable,
        open_media=media,
        known_bad=dict(known_bad or {}),
    )


def loader(data, order=None, num_workers=2, deadline=0.0, **options):
    settings = {"pin_memory": False, "persistent": True, **options}
    workers = Workers([data], num_workers=num_workers, deadline_seconds=deadline, **settings)
    return VideoLoader(data, order or TrainOrder(12, 2, seed=1), workers)


def read(batches):
    return [(batch.reports, batch.clips.clone()) for batch in batches]


def assert_same(one, other):
    assert [reports for reports, _ in one] == [reports for reports, _ in other]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("kind", "deadline", "reason"),
    [
        (SEGFAULT, DEADLINE, "its process crashed (SIGSEGV)"),
        (KILL, 0.0, "its process was killed (SIGKILL), perhaps by the system for lack of memory"),
        (EXIT, 0.0, "its process ended by itself (exit status 3)"),
        (HANG, DEADLINE, "not read within 60 seconds (DATA_LOADER.DEADLINE_SECONDS)"),
    ],
)
def test_a_video_that_ends_its_worker_is_replaced_as_if_it_could_not_be_read(kind, deadline, reason, caplog):
    data = videos(Media({5: kind}))
    with caplog.at_level("WARNING", logger="slowfast"):
        found = read(loader(data, deadline=deadline).epoch(0))
    plain = videos(Media({}), known_bad={5: reason})
    expected = read(loader(plain, num_workers=0).epoch(0))
    assert_same(found, expected)
    (report,) = [report for reports, _ in found for report in reports if report.failures]
    assert report.index == 5 and report.source != 5 and report.failures == ((5, reason),)
    assert is_late(reason) is (kind == HANG)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"a loader worker ended, its video is read again: v5.mp4: {reason}",
        f"a loader worker ended again, its video is unreadable: v5.mp4: {reason}",
    ]
    assert 5 not in plain.open_media.opened  # nobody touches what is known


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"persistent": False},
        pytest.param({"start_method": "spawn", "num_workers": 1}, marks=pytest.mark.slow),
    ],
)
def test_what_ends_one_worker_only_changes_nothing(tmp_path, options):
    order = TrainOrder(12, 2, seed=1)
    faults = (
        {6: HANG} if "start_method" in options else {2: SEGFAULT, 6: HANG, 9: KILL}
    )  # spawning takes long
    data = videos(Media(faults, once=str(tmp_path)))
    assert_same(
        read(loader(data, order, deadline=DEADLINE, **options).epoch(3)),
        read(loader(videos(Media({})), num_workers=0).epoch(3)),
    )
    assert data.known_bad == {} and sorted(os.listdir(tmp_path)) == [str(index) for index in faults]


def test_workers_go_on_from_the_middle_of_an_epoch_and_serve_the_next():
    data = videos(Media({5: SEGFAULT}))
    reads = loader(data, TrainOrder(12, 4, seed=1, passes=2))
    plain = loader(
        videos(Media({}), known_bad={5: "its process crashed (SIGSEGV)"}), reads.order, num_workers=0
    )
    for epoch, first in ((0, 1), (1, 0)):
        found = [read(step) for step in reads.steps(epoch, first)]
        expected = [read(step) for step in plain.steps(epoch, first)]
        assert [len(step) for step in found] == [2] * (3 - first)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


def test_in_evaluation_nothing_is_replaced_and_the_reason_is_told():
    data = videos(Media({3: SEGFAULT}), replace_unreadable=False)
    batches = list(loader(data, EvalOrder(12, 4), persistent=False))
    assert [batch.video_ids.tolist() for batch in batches] == [[0, 1, 2], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert batches[0].reports[3] == ItemReport(3, -1, ((3, "its process crashed (SIGSEGV)"),))


def test_a_replacement_that_crashes_is_told_from_the_video_it_replaces():
    plain = videos(Media({}), known_bad={4: "gone"})
    (source,) = [
        r.source
        for reports, _ in read(loader(plain, num_workers=0).epoch(0))
        for r in reports
        if r.index == 4
    ]
    data = videos(Media({source: SEGFAULT}), known_bad={4: "gone"})
    found = read(loader(data).epoch(0))
    assert set(data.known_bad) == {4, source}
    (failures,) = [r.failures for reports, _ in found for r in reports if r.index == 4]
    assert [index for index, _ in failures] == [4, source]


def test_a_death_in_the_middle_of_a_step_is_heard_when_the_next_batch_is_asked_for():
    data = videos(Media({}))
    train = loader(data, num_workers=1)
    batches = train.epoch(0)
    first = next(batches)
    (worker,) = train._workers._watch._processes
    worker.kill()
    worker.join()
    torch.ones(3).sum()  # a signal handler would have raised here
    rest = read(batches)
    assert_same(
        [(first.reports, first.clips), *rest], read(loader(videos(Media({})), num_workers=0).epoch(0))
    )


class CrashingCollate(torch.utils.data.Dataset):
    """Items that end the process when they are joined: no video is to blame."""

    class Item:
        @property
        def views(self):
            fault(SEGFAULT)

    def __getitem__(self, key):
        return self.Item()


def test_workers_that_end_without_reading_end_the_run_with_advice():
    data = CrashingCollate()
    with pytest.raises(RuntimeError, match=r"loader workers ended .*SIGSEGV.*DATA_LOADER.NUM_WORKERS"):
        list(loader(data, num_workers=1).epoch(0))


class Foreign(torch.utils.data.Dataset):
    """A data set from elsewhere, which cannot do without a video."""

    def name(self, index):
        return f"foreign {index}"

    def __getitem__(self, key):
        if key[1] == 5:
            fault(SEGFAULT)
        views = Views.of(torch.zeros((1, 2, 4, 4, 3), dtype=torch.uint8))
        return VideoItem(views, torch.zeros(1), ItemReport(key[1], key[1]))


def test_a_data_set_that_cannot_do_without_a_video_ends_the_run_with_its_name():
    with pytest.raises(RuntimeError, match=r"foreign 5 \(its process crashed \(SIGSEGV\)\): leave it out"):
        list(loader(Foreign()).epoch(0))


def test_an_error_of_a_data_set_is_not_taken_for_the_end_of_a_worker():
    class Broken(Foreign):
        def __getitem__(self, key):
            raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        list(loader(Broken()).epoch(0))


def test_a_worker_that_is_idle_is_never_late(monkeypatch):
    watch = Watch(1, 10.0)
    assert watch.table.tolist() == [[0, 0, 0, 0]]
    monkeypatch.setattr(watching, "_row", None)
    watching.begin(watch.table, 0)
    with watching.item(1, 4):
        assert watch.table[0, :3].tolist() == [os.getpid(), 1, 4] and watch.table[0, 3] > 0
        watching.now_reading(8)
        assert watch.table[0, 2] == 8 and watch.table[0, 3] > 0
    assert watch.table[0, 3] == 0


def test_processes_that_are_over_are_gone():
    train = loader(videos(Media({5: SEGFAULT})), deadline=DEADLINE)
    read(train.epoch(0))
    watch = train._workers._watch
    processes = list(watch._processes)
    assert len(processes) == 2 and all(process.is_alive() for process in processes)
    assert watch._thread is None  # between passes nobody can be late
    watch.end()
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2
    assert watch.casualties() == []
