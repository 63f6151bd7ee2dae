"""Do weights and data mean the same classes? Compared by name, since a number alone says nothing.

The published Kinetics heads follow an order that is not alphabetical; with labels in any other order a sound model
scores near zero. Names are compared without case, spaces, underscores and punctuation, which lists differ in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from slowfast.models.pretrained import HEAD_NAMES
from slowfast.utils.names import normalised

SHOWN = 5  # differences in an error; the rest is counted
KINETICS = {400: "k400", 600: "k600"}  # heads of these sizes are usually published ones


@dataclass(frozen=True)
class ClassMatch:
    """How the classes of weights relate to those of the data.

    kind: "same", "reordered" (the same names in another order), "other" (different names), or "unknown" (one side has
    no names). order: for each class of the data its row in the weights, where reordered; else empty. said: one line
    for the log; for "other" a few, with the first differences.
    """

    kind: Literal["same", "reordered", "other", "unknown"]
    order: tuple[int, ...]
    said: str


def compare(theirs: Sequence[str] | None, ours: Sequence[str] | None, num_classes: int) -> ClassMatch:
    """The class names of weights against those of the data, both in the order of class numbers; None: not known.

    Two names are equal if they are so after `normalised`, unless that makes two names of one side equal: then as
    they are written. Raises ValueError if a side has one name twice and the lists differ.
    """
    if theirs is None or ours is None:
        return ClassMatch("unknown", (), _unknown(theirs, ours, num_classes))
    if list(theirs) == list(ours):
        return ClassMatch(
            "same", (), f"the weights and the data name the same {len(ours)} classes in one order"
        )
    keys, wanted = _keys(theirs, ours)
    if keys == wanted:
        return ClassMatch(
            "same", (), f"the weights and the data name the same {len(ours)} classes in one order"
        )
    if set(keys) == set(wanted):
        row = {key: number for number, key in enumerate(keys)}
        order = tuple(row[key] for key in wanted)
        first = next(number for number, source in enumerate(order) if source != number)
        moved = sum(source != number for number, source in enumerate(order))
        return ClassMatch(
            "reordered",
            order,
            f"the weights and the data name the same {len(ours)} classes in another order: {moved} of them have "
            f"another number, such as {ours[first]!r}, {order[first]} in the weights and {first} in the data",
        )
    return ClassMatch("other", (), _differences(theirs, ours, keys, wanted))


def reorder(weights: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """The weights with the rows of the head in another order: row i is what was row order[i].

    Raises ValueError if there is no head, or one with another number of rows.
    """
    heads = [name for name in HEAD_NAMES if name in weights]
    if not heads:
        raise ValueError(
            f"the classes of the weights cannot be put in the order of the data: none of {', '.join(HEAD_NAMES)} is "
            "among them; number the labels of the lists as the weights do"
        )
    for name in heads:
        if len(weights[name]) != len(order):
            raise ValueError(
                f"{name} has {len(weights[name])} rows, but there are {len(order)} class names for these weights: "
                "is MODEL.CLASS_NAMES_PATH the file of their classes?"
            )
    rows = list(order)
    return {name: value[rows] if name in heads else value for name, value in weights.items()}


def _keys(theirs: Sequence[str], ours: Sequence[str]) -> tuple[list[str], list[str]]:
    for spell in (normalised, str.strip):
        keys, wanted = [spell(name) for name in theirs], [spell(name) for name in ours]
        if len(set(keys)) == len(keys) and len(set(wanted)) == len(wanted):
            return keys, wanted
    for names, side in ((theirs, "weights"), (ours, "data")):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise ValueError(
                f"the class names of the {side} hold {twice[0]!r} more than once, so classes cannot be told apart by "
                "name: give each class a name of its own"
            )
    raise AssertionError("unreachable")


def _differences(theirs: Sequence[str], ours: Sequence[str], keys: list[str], wanted: list[str]) -> str:
    """Class numbers at which a side has a name that the other side lacks everywhere."""
    only = set(keys) ^ set(wanted)
    lines = []
    for number in range(max(len(keys), len(wanted))):
        pair = [
            (repr(names[number]), spelled[number]) if number < len(names) else ("nothing", "")
            for names, spelled in ((theirs, keys), (ours, wanted))
        ]
        if only & {pair[0][1], pair[1][1]}:
            lines.append(f"  {number}: {pair[0][0]} in the weights, {pair[1][0]} in the data")
    rest = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return (
        f"the weights were trained on other classes ({len(theirs)}) than the data has ({len(ours)}):\n"
        + "\n".join(lines[:SHOWN])
        + rest
    )


def _unknown(theirs: Sequence[str] | None, ours: Sequence[str] | None, num_classes: int) -> str:
    missing = []
    if theirs is None:
        missing.append("the weights hold none (MODEL.CLASS_NAMES_PATH can name a file with theirs)")
    if ours is None:
        missing.append("the lists have none (classes.txt beside them, or DATA.CLASS_NAMES_PATH)")
    hint = ""
    if theirs is None and num_classes in KINETICS:
        hint = (
            f". Published weights of {num_classes} classes follow the order of data_lists/{KINETICS[num_classes]}/"
            "classes.txt, which is not alphabetical"
        )
    return (
        f"class names cannot be compared: {' and '.join(missing)}; class numbers are taken to mean the same on both "
        f"sides{hint}"
    )
