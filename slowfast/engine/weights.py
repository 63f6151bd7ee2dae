"""Weights into a model for a use, with their classes compared by name to those of the data first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from slowfast.datasets.annotations import read_class_names
from slowfast.models import class_names, pretrained
from slowfast.models.class_names import ClassMatch
from slowfast.models.pretrained import LoadReport
from slowfast.utils import checkpoint


class Computing(NamedTuple):
    """How a run computes, as far as the last bits of its results follow from it: as its checkpoints tell.

    ``operators`` is the plan of its operators, ``num_threads`` as Session has it; {} and 0 where that is not known.
    """

    operators: dict[str, str]
    num_threads: int


def load_for_test(
    path: str | os.PathLike,
    model: nn.Module,
    *,
    names: Sequence[str] | None,
    names_path: str = "",
    num_classes: int,
    slice_head: bool = False,
) -> tuple[LoadReport, ClassMatch, Computing]:
    """All weights of a file, the head in the order of the data's class ``names``; and how they were computed.

    ``names_path``: a file with the class names of the weights, read where they hold none. ``slice_head``: of a head
    without class names that has more rows than ``num_classes``, take the first. Raises ValueError for weights of other
    classes, and for whatever else does not fit.
    """
    payload = checkpoint.load(path)
    match = _match(payload, names, names_path, num_classes)
    if match.kind == "other":
        raise ValueError(
            f"{path}: {match.said}\nTest it with the lists of its own classes, or, if only the spelling differs, "
            "write its names into classes.txt beside the lists (or DATA.CLASS_NAMES_PATH)"
        )
    fitting = _in_order(payload, match)
    if match.kind == "unknown":
        fitting = _first_rows(path, fitting, num_classes, slice_head)
    computing = Computing(payload.get("operators", {}), payload.get("num_threads", 0))
    return pretrained.fit(fitting, model, replace_head=False), match, computing


def load_initial(
    path: str | os.PathLike,
    model: nn.Module,
    *,
    names: Sequence[str] | None,
    names_path: str = "",
    num_classes: int,
    allow: Sequence[str] = (),
) -> tuple[LoadReport, ClassMatch]:
    """Weights to start training from: as `load_for_test`, but a head of other classes stays as the model has it."""
    payload = checkpoint.load(path)
    match = _match(payload, names, names_path, num_classes)
    report = pretrained.fit(
        _in_order(payload, match), model, allow=allow, other_classes=match.kind == "other"
    )
    return report, match


def check_resumed(
    path: str | os.PathLike, payload: Mapping[str, Any], names: Sequence[str] | None, num_classes: int
) -> None:
    """Raise ValueError where a run would go on with other classes, or with the same ones in another order.

    The optimizer's state follows the numbers that classes had, so nothing is put in order here.
    """
    match = class_names.compare(payload.get("class_names"), names, num_classes)
    if match.kind in ("reordered", "other"):
        raise ValueError(
            f"{path} cannot be resumed: {match.said}\nGo on with the lists that the run began with, or start a new run "
            f"(another OUTPUT_DIR) with TRAIN.INIT {path}"
        )


def describe(report: LoadReport, match: ClassMatch) -> str:
    """What the log says about the classes of loaded weights."""
    if match.kind == "reordered":
        return f"{match.said}; the rows of the head were put in the order of the data"
    if match.kind == "other":
        return f"{match.said}\nThe head stays as a new model has it"
    if report.replaced:
        return "the weights have another number of classes: the head stays as a new model has it"
    return match.said


def _match(
    payload: Mapping[str, Any], names: Sequence[str] | None, names_path: str, num_classes: int
) -> ClassMatch:
    theirs = payload.get("class_names")
    if theirs is None and names_path:
        theirs = read_class_names(names_path)
    return class_names.compare(theirs, names, num_classes)


def _first_rows(
    path: str | os.PathLike, payload: Mapping[str, Any], num_classes: int, slice_head: bool
) -> Mapping[str, Any]:
    """The weights with a head of ``num_classes`` rows, where it has more and ``slice_head`` says to cut it."""
    state = pretrained.state_dict_in(payload)
    rows = max((len(state[name]) for name in pretrained.HEAD_NAMES if name in state), default=0)
    if rows <= num_classes:
        return payload
    if not slice_head:
        raise ValueError(
            f"{path}: the head has {rows} rows, the data {num_classes} classes. If the classes of the data are the "
            f"first {num_classes} of the weights, as may be with a published HMDB51 file whose recipe said 101, write "
            "MODEL.SLICE_HEAD True; else test with the lists of the classes that the weights were trained on"
        )
    return {
        name: value[:num_classes] if name in pretrained.HEAD_NAMES else value for name, value in state.items()
    }


def _in_order(payload: Mapping[str, Any], match: ClassMatch) -> Mapping[str, Any]:
    if match.kind != "reordered":
        return payload
    return class_names.reorder(pretrained.state_dict_in(payload), match.order)
