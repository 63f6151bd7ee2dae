"""Several lines of the annotation that name one video or frame folder: which of them it is listed for."""

from __future__ import annotations

from collections.abc import Sequence

from slowfast.datasets.preparation.entries import UNLABELLED, Entry

TWO_CLASSES = "annotated as two classes, listed as neither"
TWO_LISTS = "named by several lists, kept in the one that is scored"
TWICE = "named more than once by a list, listed once"

# Published figures are of the whole validation set, and what is scored must not be trained on: training gives way.
_PRECEDENCE = ("val", "test", UNLABELLED, "train")


def settle(entries: Sequence[Entry]) -> tuple[Entry | None, dict[Entry, tuple[str, str]]]:
    """(the entry that keeps what all these name, or None; each other entry → (cause, reason)).

    The first line in val keeps it, without one in val the first in test, then in unlabelled, then in train. If that
    split gives it two classes, nothing tells which is right and no entry keeps it: a wrong label would count as an
    error of the model, or teach it one.
    """
    split = min((entry.split for entry in entries), key=_PRECEDENCE.index)
    kept, *again = [entry for entry in entries if entry.split == split]
    other = next((entry for entry in again if entry.label != kept.label), None)
    if other:
        reason = f"annotated as {_named(kept)} and as {_named(other)}: listed as neither"
        return None, {entry: (TWO_CLASSES, reason) for entry in entries}
    return kept, {entry: _gives_way(entry, kept) for entry in entries if entry != kept}


def _gives_way(entry: Entry, kept: Entry) -> tuple[str, str]:
    """(cause, reason) of an entry whose medium is listed for another one."""
    if entry.split == kept.split:
        return TWICE, f"named again ({entry.where}): listed once, for {kept.where}"
    reason = f"kept in {kept.split} ({kept.where}) and so taken out of {entry.split} ({entry.where})"
    if UNLABELLED not in (entry.split, kept.split) and entry.label != kept.label:
        reason += f"; the classes differ, {kept.split} says {kept.class_name!r} and {entry.split} {entry.class_name!r}"
    return TWO_LISTS, reason


def _named(entry: Entry) -> str:
    return f"{entry.class_name!r} ({entry.where})"
