"""Verdicts kept in a file as they come, so that a check that was stopped goes on where it was.

A line of JSON each. The first says what is checked, and how; each of the others is a verdict with the stamp that the
video had before it was read. Of several about the same video the last one holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.datasets.checking.decoding import BAD, DAMAGED, GOOD
from slowfast.datasets.checking.listing import Key
from slowfast.datasets.checking.sources import Stamp
from slowfast.utils.isolation import Limits

_WHAT = "slowfast check"


@dataclass(frozen=True, slots=True)
class Verdict:
    """status: good, damaged or bad. reason: "" if good. limits: those that the video ran into, else None."""

    status: str
    reason: str = ""
    limits: Limits | None = None


class Journal:
    """The file and what it holds; use it as a context manager.

    Half a line at its end, as a kill or a full disk leaves, is cut away. Raises ValueError if the file holds the
    verdicts of another check than `settings` describe, or is something else.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.path = path
        self._verdicts: dict[Key, tuple[Stamp, Verdict]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._load(settings)
        self._file = open(path, "r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._append({"what": _WHAT, "settings": settings})

    def known(self, key: Key, stamp: Stamp, limits: Limits) -> Verdict | None:
        """The verdict on a video that has not changed since; None if it ran into other limits than these."""
        found, verdict = self._verdicts.get(key, (None, None))
        if found != stamp or verdict.limits not in (None, limits):
            return None
        return verdict

    def add(self, key: Key, stamp: Stamp, verdict: Verdict) -> None:
        """Keep a verdict; it survives whatever happens to this process. Raises OSError if the disk is full."""
        self._verdicts[key] = stamp, verdict
        limits = verdict.limits and [verdict.limits.seconds, verdict.limits.memory_gb]
        names = ("path", "frames", "size", "mtime_ns", "verdict", "reason", "limits")
        self._append(dict(zip(names, (*key, *stamp, verdict.status, verdict.reason, limits), strict=True)))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def _load(self, settings: Mapping[str, Any]) -> int:
        """Take what is there; return how many of its bytes are whole lines of ours."""
        whole = 0
        if not self.path.exists():
            return whole
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                    if whole and entry:
                        self._take(entry)
                except (ValueError, KeyError, TypeError):
                    entry = None
                if not whole:
                    self._require_same(entry, line, settings)
                if not entry:
                    break
                whole += len(line)
        return whole

    def _take(self, entry: Mapping[str, Any]) -> None:
        if entry["verdict"] not in (GOOD, DAMAGED, BAD):
            raise ValueError(entry)
        limits = entry["limits"] and Limits(*entry["limits"])
        stamp = entry["size"], entry["mtime_ns"]
        self._verdicts[entry["path"], entry["frames"]] = (
            stamp,
            Verdict(entry["verdict"], entry["reason"], limits),
        )

    def _require_same(self, entry: Any, line: bytes, settings: Mapping[str, Any]) -> None:
        """Refuse a first line that is not ours or of other settings; half of ours may be begun anew."""
        begin = json.dumps({"what": _WHAT}).encode()[:-1]
        if entry is None and (begin.startswith(line) or (line.startswith(begin) and line[-1:] != b"\n")):
            return
        if not isinstance(entry, dict) or entry.get("what") != _WHAT:
            raise ValueError(f"{self.path}: not the journal of a check; give another folder with --out")
        before = entry["settings"]
        if before == settings:
            return
        told = [
            "the list has changed"
            if name == "list"
            else f"{name} was {before.get(name)!r}, is {settings.get(name)!r}"
            for name in sorted({*before, *settings})
            if before.get(name) != settings.get(name)
        ]
        raise ValueError(
            f"{self.path}: verdicts of another check ({'; '.join(told)}), which are not mixed with new ones: give "
            f"another folder with --out, or remove this file to check everything anew"
        )


def journal_path(folder: str | os.PathLike) -> Path:
    """Where the journal of a check lies among its files."""
    return Path(folder, "journal.jsonl")
