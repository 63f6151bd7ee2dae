"""Scores kept while a test runs, so that one that was stopped goes on after the videos already scored.

Each process writes part files below OUTPUT_DIR/partial_scores/<fingerprint>/; the fingerprint stands for weights, list
and protocol, so that scores of another test are never mixed in. A part is a whole file or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from slowfast.datasets.annotations import VideoTable
from slowfast.datasets.video_dataset import ItemReport
from slowfast.engine.evaluator import Records, RecordSink
from slowfast.utils import distributed
from slowfast.utils.atomic import replace_file
from slowfast.utils.logging import get_logger

FOLDER = "partial_scores"
SECONDS = 10.0  # between the parts of a process: what a kill can cost
_FACTS = "test.json"


def fingerprint(model: nn.Module, dataset: Any, protocol: Mapping[str, Any]) -> dict[str, str]:
    """What the scores of a test follow from, a digest for each part: "weights", "list", and the keys of ``protocol``.

    Weights are hashed as the model holds them, so a file may move; the list by its names, labels and,
    of frame folders, numbers of frames: these decide which frames are read.
    """
    weights = hashlib.sha256()
    for name, value in model.state_dict().items():
        weights.update(name.encode())
        weights.update(value.detach().cpu().contiguous().numpy().tobytes())
    parts = {"weights": weights.hexdigest(), "list": list_digest(dataset)}
    return parts | {name: _digest(str(value)) for name, value in protocol.items()}


def list_digest(dataset: Any) -> str:
    table = getattr(dataset, "table", None)
    if isinstance(table, VideoTable):
        return table.digest()
    listed = hashlib.sha256()
    for index in range(len(dataset)):
        listed.update(f"{dataset.name(index)}\n{dataset.label(index)}\n".encode("utf-8", "surrogateescape"))
    return listed.hexdigest()


class PartialSink(RecordSink):
    """A record sink that also writes what it takes to part files, and begins with those of the same test.

    ``done`` are the videos that an earlier run of this test scored, of all processes; their records are in the sink
    already. A video that could not be read then is not among them: it is tried again. All processes must make one.
    """

    def __init__(
        self,
        num_classes: int,
        output_dir: str | os.PathLike,
        facts: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(num_classes)
        self._root = Path(output_dir) / FOLDER
        self._folder = self._root / _digest(json.dumps(dict(facts), sort_keys=True))[:16]
        self._now, self._last = clock, clock()
        self._waiting: list[tuple[Records, list[ItemReport]]] = []
        if distributed.is_main():
            self._report_others(facts)
            with replace_file(self._folder / _FACTS) as file:
                file.write(json.dumps(dict(facts), indent=2).encode())
        self.done = self._take_parts()
        self._number = len(self._parts())

    def add(self, records: Records, reports: Iterable[ItemReport]) -> None:
        """As `RecordSink.add`; a part is written if the last one is old enough."""
        reports = list(reports)
        super().add(records, reports)
        self._waiting.append((records, reports))
        if self._now() - self._last >= SECONDS:
            self.keep()

    def taken_up(self) -> Records:
        """First views of the videos of ``done`` whose parts this process read, in list order; ask before `add`."""
        return Records.join(self._records, self._num_classes).of_views(range(1))

    def remove(self) -> None:
        """Delete all part files that are seen from here, also those of other processes: the results are written."""
        shutil.rmtree(self._root, ignore_errors=True)

    def keep(self) -> None:
        """Write what was added since the last part."""
        if not self._waiting:
            return
        records = [part for part, _ in self._waiting if len(part)]
        reports = [_plain(report) for _, part in self._waiting for report in part]
        path = self._folder / f"part-{distributed.rank():04d}-{self._number:06d}.npz"
        with replace_file(path) as file:
            joined = Records.join(records, self._num_classes)
            np.savez(file, **vars(joined), reports=np.array(json.dumps(reports)))
        self._waiting.clear()
        self._number += 1
        self._last = self._now()

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("part-*.npz"))

    def _take_parts(self) -> frozenset[int]:
        """Read the parts that no process of lower rank sees too; returns the videos done in all processes."""
        seen = distributed.all_gather_objects([path.name for path in self._parts()])
        theirs = {name for names in seen[: distributed.rank()] for name in names}
        done: set[int] = set()
        for path in self._parts():
            if path.name not in theirs:
                done |= self._take(path)
        everywhere = frozenset().union(*distributed.all_gather_objects(done))
        if everywhere:
            get_logger(__name__).info(
                "%d videos were scored by an earlier run of this test (%s); it goes on after them",
                len(everywhere),
                self._folder,
            )
        return everywhere

    def _take(self, path: Path) -> set[int]:
        try:
            with np.load(path, allow_pickle=False) as part:
                records = Records(part["video_ids"], part["view_ids"], part["logits"])
                plain = json.loads(str(part["reports"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            get_logger(__name__).warning("part passed over, its videos are scored again: %s: %s", path, error)
            return set()
        reports = [_report(values) for values in plain if values["source"] >= 0]
        done = {report.index for report in reports}
        kept = np.isin(records.video_ids, list(done))
        super().add(Records(*(column[kept] for column in vars(records).values())), reports)
        return done

    def _report_others(self, facts: Mapping[str, str]) -> None:
        """Say which kept scores are not used, and what differs."""
        for path in sorted(self._root.glob(f"*/{_FACTS}")):
            if path.parent == self._folder:
                continue
            try:
                other = json.loads(path.read_text())
            except (OSError, ValueError):
                other = {}
            differing = [name for name in (facts | other) if facts.get(name) != other.get(name)]
            get_logger(__name__).warning(
                "scores kept in %s are of another test and not used: it differs in %s",
                path.parent,
                ", ".join(differing),
            )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _plain(report: ItemReport) -> dict[str, Any]:
    return {
        "index": report.index,
        "source": report.source,
        "failures": report.failures,
        "damage": report.damage,
    }


def _report(values: Mapping[str, Any]) -> ItemReport:
    failures = tuple((index, reason) for index, reason in values["failures"])
    return ItemReport(values["index"], values["source"], failures, values["damage"])
