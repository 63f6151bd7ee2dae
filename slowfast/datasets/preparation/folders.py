"""A tree of class folders → labelled items in train, val and test: seeded, stratified by class, groups kept whole."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slowfast.datasets.preparation.classes import ClassNumbers
from slowfast.datasets.preparation.entries import SPLITS, Item, LeftOut
from slowfast.datasets.preparation.media import MediaTree, file_size
from slowfast.utils.plural import counted
from slowfast.utils.seeds import derive

_SPLIT_NAMES = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))
_SHOWN = 5


@dataclass(frozen=True)
class Shares:
    """Parts of the videos for validation and for testing, 0..1; what is left is for training."""

    val: float
    test: float

    def __post_init__(self):
        for name, share in (("val", self.val), ("test", self.test)):
            if not 0 <= share < 1:
                raise ValueError(
                    f"--{name} is {share}; write a part of all videos, 0 to below 1, such as 0.1"
                )
        if self.val + self.test >= 1:
            raise ValueError(f"--val {self.val} and --test {self.test} leave nothing to train on")

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split == "train" or getattr(self, split))


def read_tree(
    tree: MediaTree, kind: str, classes: ClassNumbers | None = None
) -> tuple[list[str], list[Item], list[LeftOut]]:
    """(class names, items of the split "train", media left out): the first folder of a path is its class.

    Classes are numbered in the order of their names, or as `classes` has them.

    Raises ValueError for fewer than two classes, two folders with names for one class, folders that are
    splits (train, val, ...) and not classes, or a folder that is not among `classes`.
    """
    good, left_out = [], []
    for path in tree.paths(kind):
        if "/" not in path:
            where = "frames of one video" if kind == "frames" else "a video"
            left_out.append(
                LeftOut(path, f"{where} beside the class folders, not in a folder of one in there")
            )
        elif tree.problem(path, kind):
            left_out.append(LeftOut(path, tree.problem(path, kind)))
        else:
            good.append(path)
    left_out += [LeftOut(path, _same(first)) for path, first in tree.linked(kind).items()]
    names = sorted({path.partition("/")[0] for path in good})
    _check_class_folders(tree.root, names, left_out)
    classes = classes or ClassNumbers(names, str(tree.root))
    found = classes.number([(name, str(tree.root / name)) for name in names])
    numbers = dict(zip(names, found, strict=True))
    items = []
    for path in good:
        label = numbers[path.partition("/")[0]]
        items.append(Item(path, label, "train", tree.num_frames(path, kind)))
    left_out = [replace(item, label=numbers.get(item.path.partition("/")[0], -1)) for item in left_out]
    return classes.names, items, left_out


def without_copies(items: Sequence[Item], tree: MediaTree, kind: str) -> tuple[list[Item], list[LeftOut]]:
    """Leave out media with the bytes of an earlier one, which could otherwise stand in two splits.

    A video is compared as its file, a frame folder as its pictures in order; read is only what agrees in all sizes.
    """
    if kind == "videos":
        cheap = (tree.videos.__getitem__,)
    else:
        cheap = (
            lambda path: tree.frames[path].num_frames,
            lambda path: file_size(tree.files(path, kind)[0]),
            lambda path: tuple(map(file_size, tree.files(path, kind))),
        )
    copies = _copies([item.path for item in items], (*cheap, lambda path: _digest(tree.files(path, kind))))
    left_out = [
        LeftOut(item.path, _same(copies[item.path]), item.label) for item in items if item.path in copies
    ]
    return [item for item in items if item.path not in copies], left_out


def groups_of(items: Sequence[Item], pattern: str) -> list[str]:
    """The group of every item: what the first group of the regular expression finds in its path ("" pattern: the path).

    Raises ValueError for a pattern that is no regular expression, has no group, or does not match every path.
    """
    if not pattern:
        return [item.path for item in items]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--group-by {pattern!r}: not a regular expression ({error})") from None
    if not compiled.groups:
        raise ValueError(
            f"--group-by {pattern!r}: no group in it; put ( ) around the part that names the group"
        )
    found = [compiled.search(item.path) for item in items]
    unmatched = [item.path for item, match in zip(items, found, strict=True) if not match or not match[1]]
    if unmatched:
        raise ValueError(
            f"--group-by {pattern!r}: finds no group in {len(unmatched)} of {len(items)} paths, "
            f"such as {', '.join(map(repr, unmatched[:3]))}"
        )
    return [match[1] for match in found]


def split_items(
    items: Sequence[Item], groups: Sequence[str], class_names: Sequence[str], shares: Shares, seed: int
) -> list[Item]:
    """Give every item a split. A function of paths, groups and seed: the order of `items` does not matter.

    Groups are taken from the largest to the smallest, equal ones in an order drawn from the seed, each into
    the split that its classes lack most videos in, or have none in while groups run out. Where every video is
    a group, every class gets its share of each split to within one video, and at least one. Raises ValueError
    naming the classes that have not enough videos or groups.
    """
    members = defaultdict(list)
    for item, group in zip(items, groups, strict=True):
        members[group].append(item)
    targets = _targets(Counter(item.label for item in items), shares)
    _check_enough(members, class_names, shares)
    order = sorted(members, key=lambda group: (-len(members[group]), derive(seed, "split", group), group))
    lacking = {label: dict(target) for label, target in targets.items()}
    groups_left = Counter(label for group in members for label in {item.label for item in members[group]})
    empty = {label: set(shares.splits) for label in targets}
    chosen = {}
    for group in order:
        sizes = Counter(item.label for item in members[group])
        # A class with no more groups left than splits that have nothing of it yet: these splits come first.
        scarce = [empty[label] for label in sizes if groups_left[label] <= len(empty[label])]
        best = min(
            shares.splits,
            key=lambda split: (sum(split not in need for need in scarce), _cost(sizes, lacking, split)),
        )
        chosen[group] = best
        for label, size in sizes.items():
            lacking[label][best] -= size
            groups_left[label] -= 1
            empty[label].discard(best)
    done = [replace(item, split=chosen[group]) for item, group in zip(items, groups, strict=True)]
    _check_none_empty(done, class_names, shares)
    return sorted(done, key=lambda item: (SPLITS.index(item.split), item.label, item.path))


def _targets(counts: Mapping[int, int], shares: Shares) -> dict[int, dict[str, float]]:
    """Videos wanted per class and split: the share, but one at least."""
    targets = {}
    for label, count in counts.items():
        held = {split: max(1.0, getattr(shares, split) * count) for split in shares.splits[1:]}
        targets[label] = {"train": count - sum(held.values()), **held}
    return targets


def _cost(sizes: Mapping[int, int], lacking: Mapping[int, Mapping[str, float]], split: str) -> float:
    """How much squared distance from the targets grows if a group with `sizes` goes to `split`, per class of it."""
    return sum(size * (size - 2 * lacking[label][split]) for label, size in sizes.items())


def _check_class_folders(root: Path, names: list[str], left_out: list[LeftOut]) -> None:
    if len(names) > 1 and {name.lower() for name in names} <= _SPLIT_NAMES:
        raise ValueError(
            f"{root}: the folders {', '.join(names)} are splits, not classes; a tree of class folders has "
            "CLASS/video or CLASS/.../video. Put the videos of a class into one folder and let the split be drawn"
        )
    if len(names) < 2:
        found = f"only one class folder, {names[0]!r}" if names else "no class folder"
        because = f"; {left_out[0].path!r}: {left_out[0].reason}" if left_out else ""
        raise ValueError(f"{root}: {found} with usable media in it; a classifier needs two or more{because}")
    ClassNumbers(names, str(root))


def _check_enough(members: Mapping[str, list[Item]], class_names: Sequence[str], shares: Shares) -> None:
    videos, groups = Counter(), defaultdict(set)
    for group, items in members.items():
        for item in items:
            videos[item.label] += 1
            groups[item.label].add(group)
    needed = len(shares.splits)
    few = [label for label in range(len(class_names)) if len(groups[label]) < needed]
    if few:
        shown = ", ".join(
            f"{class_names[label]!r} ({counted(videos[label], 'video')} in {counted(len(groups[label]), 'group')})"
            for label in few[:_SHOWN]
        )
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        raise ValueError(
            f"too few videos or groups for {', '.join(shares.splits)}, which need {needed} groups of every class "
            f"(a video is a group of its own without --group-by): {shown}{more}. Add videos, remove the class, or "
            "leave a split out with --val 0 or --test 0"
        )


def _check_none_empty(items: Sequence[Item], class_names: Sequence[str], shares: Shares) -> None:
    seen = {(item.label, item.split) for item in items}
    empty = [
        f"{name!r} has none in {split}"
        for label, name in enumerate(class_names)
        for split in shares.splits
        if (label, split) not in seen
    ]
    if empty:
        raise ValueError(
            f"groups cannot be shared out so that every class is in every split: {', '.join(empty[:_SHOWN])}; "
            "try another --seed, finer groups, or larger --val and --test"
        )


def _copies(paths: Sequence[str], measures: Iterable[Callable[[str], Hashable]]) -> dict[str, str]:
    """Path → the first one that agrees with it in all measures; each is taken of those alike in the ones before."""
    groups = [list(paths)]
    for measure in measures:
        parts = []
        for group in groups:
            alike = defaultdict(list)
            for path in group:
                alike[measure(path)].append(path)
            parts += [part for part in alike.values() if len(part) > 1]
        groups = parts
    return {path: group[0] for group in groups for path in group[1:]}


def _same(first: str) -> str:
    return f"same content as {first}"


def _digest(paths: Sequence[Path]) -> bytes:
    """Of the bytes of the files, one after the other."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.digest()
