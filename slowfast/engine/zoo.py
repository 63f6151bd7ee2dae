"""Tables of the published experiments: what each costs, what was published, and what was measured here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from slowfast.engine.verdict import proves_little, views_text

HEADER = (
    "recipe", "parameters (M)", "GFLOPs a view", "GFLOPs in all", "published GFLOPs", "views",
    "published top-1", "top-1 here", "published weights",
)  # fmt: skip
MARKERS = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One experiment. ``name`` is "data set/recipe"; ``published`` its entry of published.json; ``views`` are (frames,
    crops, clips); ``results`` are the contents of result files by what `parts` calls them.
    """

    name: str
    published: dict
    parameters: int
    macs_per_view: int
    views: tuple[int, int, int]
    results: dict[str, dict]

    @property
    def dataset(self) -> str:
        """Name of the data set, and of the folder of its recipes."""
        return self.name.split("/")[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all views."""
        return self.macs_per_view * self.views[1] * self.views[2]


def parts(num_test_videos: int | Sequence[int]) -> dict[str, int]:
    """The tests that a row is made of, with the videos of each: "" for one test list, else "split1", "split2", ..."""
    if isinstance(num_test_videos, int):
        return {"": num_test_videos}
    return {f"split{number}": count for number, count in enumerate(num_test_videos, 1)}


def result_name(row: str, part: str) -> str:
    """Where the result of a part lies below results/."""
    return f"{row}_{part}.json" if part else f"{row}.json"


def fill(text: str, rows: Sequence[Row]) -> str:
    """``text`` with what stands between ``<!-- table NAME -->`` and ``<!-- end -->`` made anew from ``rows``.

    NAME is a data set, or ``flops`` for the rows whose published cost is off by more than rounding (flag F18).
    Raises ValueError where a data set of the rows has no table, or a table no rows.
    """
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    tables = {name: _table([row for row in rows if row.dataset == name]) for name in datasets}
    tables["flops"] = _off_in_cost([row for row in rows if "F18" in row.published["flags"]])
    marked = [match[2] for match in MARKERS.finditer(text)]
    if sorted(marked) != sorted(tables):
        raise ValueError(
            f"tables are marked for {', '.join(sorted(marked)) or 'nothing'}; there must be one each for "
            f"{', '.join(sorted(tables))}: <!-- table NAME --> and <!-- end -->"
        )
    return MARKERS.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", text)


def _table(rows: Sequence[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> list[str]:
    published = row.published
    return [
        f"[{row.name.split('/')[1]}](configs/{row.name}.yaml)",
        f"{row.parameters / 1e6:.1f}",
        f"{row.macs_per_view / 1e9:.1f}",
        f"{row.macs / 1e9:.1f}",
        f"{published['gflops']:g}",
        views_text(*row.views),
        f"{published['top1']:.1f}",
        measured(parts(published["num_test_videos"]), row.results, published["top1"]),
        _weights(published),
    ]


def measured(expected: dict[str, int], results: dict[str, dict], published_top1: float) -> str:
    """The top-1 of a row's result, of several splits their mean, and what a reader must know of it; a dash until
    all of ``parts`` were measured. The number of videos is said where they are not all, or so few that they prove
    little."""
    if not all(part in results for part in expected):
        return "-"
    remarks = [f"mean of splits 1-{len(expected)}"] if len(expected) > 1 else []
    for part, number in expected.items():
        found = _remarks(results[part], number)
        if part and found:
            found[0] = f"{part.replace('split', 'split ')}: {found[0]}"
        remarks += found
    scored = [results[part]["num_scored"] for part in expected]
    if scored == list(expected.values()) and any(proves_little(published_top1, count) for count in scored):
        remarks.append(f"{sum(scored)} videos")
    top1 = mean(results[part]["video"]["top1"] for part in expected)
    return f"{top1:.1f}" + (f" ({', '.join(remarks)})" if remarks else "")


def _remarks(result: dict, expected: int) -> list[str]:
    number, comparison = result["num_scored"], result.get("published", {})
    remarks = [] if number == expected else [f"{number} of {expected} videos"]
    if comparison.get("overrides"):
        remarks.append("other settings")
    if comparison.get("verdict") == "FAIL":
        remarks.append("not reproduced")
    return remarks


def _weights(published: dict) -> str:
    if not published["weights_published"]:
        return "none"
    name = f"`{published['weights_name']}`, " if published["weights_name"] else ""
    return f"{name}[Google Drive]({published['weights_hosted_at']})"


def _off_in_cost(rows: Sequence[Row]) -> str:
    """A line for each row: count, published figure, and how far they are apart."""
    lines = ["| recipe | counted | published | difference |", "| --- | --- | --- | --- |"]
    for row in rows:
        counted, published = row.macs / 1e9, row.published["gflops"]
        difference = 100 * (counted / published - 1)
        lines.append(f"| {row.name} | {counted:.2f} | {published:g} | {difference:+.1f} % |")
    return "\n".join(lines)
