"""What came of damaged files that were read in isolation: of which kind it is, counted, and told."""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from fuzzing.containers import REGIONS
from slowfast.utils.isolation import Outcome

# What a reader in this package returns as status of a file; "refused" and whatever else comes with a reason.
GOOD, DAMAGED = "good", "damaged"
KINDS = ("whole", "damaged", "refused", "crashed", "late", "memory", "fault")
ENDED = KINDS[3:6]  # a process
_ENDS = {  # how isolation tells of it
    "late": "not done after",
    "memory": "needs more than",
    "crashed": ("its process crashed", "its process was killed", "its process ended"),
}
_MOST_REASONS, _SHOWN = 12, 110  # reasons, and letters of one


@dataclass(frozen=True)
class Victim:
    """A damaged file, what it was made from and where it was hit."""

    path: Path
    origin: str
    region: str = ""


def kind_of(outcome: Outcome) -> str:
    """One of KINDS for an outcome whose value, if there is one, is (status, reason)."""
    if outcome.failure:
        ends = (kind for kind, begin in _ENDS.items() if outcome.failure.startswith(begin))
        return next(ends, "fault") if outcome.at_limit else "fault"
    status, reason = outcome.value
    if status == GOOD:
        return "fault" if reason else "whole"
    if not is_one_line(reason):
        return "fault"
    return "damaged" if status == DAMAGED else "refused"


def reason_of(outcome: Outcome) -> str:
    return outcome.failure or outcome.value[1]


def is_one_line(reason: str) -> bool:
    return bool(reason.strip()) and len(reason.splitlines()) == 1


class Tally:
    """Outcomes counted by what the file was, where it was hit and what came of it; faults and ends by name.

    Files of both are copied to the folder `keep`.
    """

    def __init__(self, keep: Path) -> None:
        self.num_faults = 0
        self.ended: list[Victim] = []
        self._keep = keep
        self._counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self._reasons: Counter = Counter()
        self._named: list[str] = []

    def add(self, victim: Victim, outcome: Outcome) -> None:
        kind, reason = kind_of(outcome), outcome.failure or outcome.value[1]
        self._counts[victim.origin, victim.region][kind] += 1
        if kind in ENDED:
            self.ended.append(victim)
        self.num_faults += kind == "fault"
        if kind in ENDED or kind == "fault":
            self._named.append(f"{kind}: {victim.path.name}: {reason[:_SHOWN]!r}")
            self._keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(victim.path, self._keep)
        elif reason:
            self._reasons[
                re.sub(r"(?<![\w-])\d+(\.\d+)?", "0", reason.replace(str(victim.path), "FILE"))[:_SHOWN]
            ] += 1

    def table(self) -> str:
        """A line for each kind of file and region, then for each region, then for all."""
        regions = [region for region in REGIONS if any(region == where for _, where in self._counts)]
        order = sorted(self._counts, key=lambda key: (key[0], [*REGIONS, ""].index(key[1])))
        rows = [(*key, self._counts[key]) for key in order]
        rows += [("all", region, self._sum(region)) for region in regions]
        rows.append(("all", "", self._sum(None)))
        lines = [f"| file | region | files | {' | '.join(KINDS)} |", "| --- " * (3 + len(KINDS)) + "|"]
        for origin, region, counts in rows:
            numbers = " | ".join(str(counts[kind]) for kind in KINDS)
            lines.append(f"| {origin} | {region} | {counts.total()} | {numbers} |")
        return "\n".join(lines)

    def told(self) -> str:
        """The most frequent reasons, and all ends and faults."""
        frequent = [f"{count:6d} x {reason}" for reason, count in self._reasons.most_common(_MOST_REASONS)]
        return "\n".join([*frequent, f"{len(self._reasons)} kinds of reasons", *self._named])

    def _sum(self, region: str | None) -> Counter:
        counts = (one for (_, where), one in self._counts.items() if region in (None, where))
        return sum(counts, Counter())
