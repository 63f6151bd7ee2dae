"""Weights of one model into another: unwrap, inflate 2D kernels, fit the head, and report every misfit.

Takes what a checkpoint file holds, not the file itself: reading belongs to utils/checkpoint.py.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

WRAPPERS = ("model_state", "model", "state_dict")  # video training, image training, others
HEAD_NAMES = ("head.weight", "head.bias", "head_cls.weight", "head_cls.bias")
PUBLISHED_NAMES = (
    *(
        f"uniformer_{size}_{data}"
        for size in ("small", "base")
        for data in ("in1k", "k400_8x8", "k400_16x4", "k600_16x4")
    ),
    *(f"uniformer_xxs_{size}_in1k" for size in (128, 160, 192, 224)),
    *(f"uniformer_xs_{size}_in1k" for size in (192, 224)),
)
PUBLISHED_AT = (
    "https://github.com/Sense-X/UniFormer, model zoos of video_classification and image_classification"
)
NAMES_IN_ERROR = 6  # of each kind; the rest is counted


@dataclass(frozen=True)
class Entry:
    """A tensor, by name, with its shape in the file and in the model; None where it does not exist."""

    name: str
    file_shape: tuple[int, ...] | None
    model_shape: tuple[int, ...] | None

    def __str__(self) -> str:
        if self.file_shape is None or self.model_shape is None or self.file_shape == self.model_shape:
            return f"{self.name} {self.model_shape or self.file_shape or ()}"
        return f"{self.name} {self.file_shape} -> {self.model_shape}"


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of the file and of the model.

    matched: copied. inflated: copied after repeating a 2D kernel over time. replaced: head of another number
    of classes or of other classes, left as the model had it. missing: not in the file; unexpected: not in
    the model; misfit: shapes that nothing reconciles; what of these three is here was allowed, and left as it
    was.
    """

    matched: list[Entry] = field(default_factory=list)
    inflated: list[Entry] = field(default_factory=list)
    replaced: list[Entry] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    unexpected: list[Entry] = field(default_factory=list)
    misfit: list[Entry] = field(default_factory=list)

    def problems(self, allow: Sequence[str] = ()) -> dict[str, list[Entry]]:
        """Missing, unexpected and misfit entries whose names match no pattern of `allow`."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "misfit": self.misfit}
        return {
            kind: refused
            for kind, entries in kinds.items()
            if (refused := [entry for entry in entries if not _allowed(entry.name, allow)])
        }

    def table(self) -> str:
        """A line for each kind with its number of tensors; below it each tensor, but for the matched ones."""
        lines = []
        for kind, entries in vars(self).items():
            lines.append(f"{kind:<11}{len(entries):>5}")
            if kind != "matched":
                lines += [f"    {entry}" for entry in entries]
        return "\n".join(lines)


def fit(
    payload: Mapping[str, Any],
    model: nn.Module,
    *,
    allow: Sequence[str] = (),
    replace_head: bool = True,
    other_classes: bool = False,
) -> LoadReport:
    """Copy the weights in `payload`, the content of a checkpoint file, into `model`, and report on each.

    The payload is a state dict, bare or under "model_state", "model" or "state_dict", with or without a
    leading "module." in the names. 2D kernels are inflated (average rule). With `replace_head` a head of
    another number of classes, or with `other_classes` any head, stays as the model has it. `allow`: patterns,
    as in a shell, of names that may be missing, unexpected or misfit. Raises ValueError, naming tensors, for
    anything else that does not fit: the model is then unchanged.
    """
    weights = state_dict_in(payload)
    report, values = _sort(weights, model.state_dict(), replace_head, other_classes)
    problems = report.problems(allow)
    if problems:
        raise ValueError(_complaint(problems, report, describe(weights), describe(model.state_dict())))
    model.load_state_dict(values, strict=False)
    return report


def state_dict_in(payload: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in a checkpoint's content, names without "module."; ValueError if there is none."""
    weights = next((payload[key] for key in WRAPPERS if isinstance(payload.get(key), Mapping)), payload)
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(
            f"no weights found: expected tensors by name, bare or under one of {', '.join(WRAPPERS)}; "
            f"the file holds {', '.join(map(str, list(payload)[:NAMES_IN_ERROR])) or 'nothing'}"
        )
    return {name.removeprefix("module."): value for name, value in weights.items()}


def describe(weights: Mapping[str, Tensor]) -> str | None:
    """In a few words, which UniFormer has these tensors, with depth and widths; None where none has.

    What tells them apart: a class token only in lightweight models, t_attn with split attention, gamma_1 with layer
    scale.
    """
    blocks = [
        match for name in weights if (match := re.match(r"blocks([1-4])\.(\d+)\.pos_embed\.weight$", name))
    ]
    depth = [1 + max((int(b[2]) for b in blocks if int(b[1]) == stage), default=-1) for stage in (1, 2, 3, 4)]
    if 0 in depth:
        return None
    widths = [len(weights[f"blocks{stage}.0.pos_embed.weight"]) for stage in (1, 2, 3, 4)]
    family = (
        "a lightweight UniFormer (Uniformer_light*)" if "cls_token" in weights else "a UniFormer (Uniformer)"
    )
    parts = {"split attention": "blocks3.0.t_attn.qkv.weight", "layer scale": "blocks3.0.gamma_1"}
    extras = [part for part, name in parts.items() if name in weights]
    return f"{family}, DEPTH {depth}, EMBED_DIM {widths}" + "".join(f", with {extra}" for extra in extras)


def inflate(weight: Tensor, num_frames: int, rule: Literal["average", "centre"] = "average") -> Tensor:
    """A 2D kernel (O, I, h, w) as a 3D one (O, I, num_frames, h, w).

    "average" repeats it divided by num_frames, "centre" puts it in the middle frame among zeros. Either way a
    still clip gives what the image gave, away from the first and last frames.
    """
    if rule == "average":
        return (weight / num_frames).unsqueeze(2).repeat(1, 1, num_frames, 1, 1)
    if rule == "centre":
        kernel = weight.new_zeros(*weight.shape[:2], num_frames, *weight.shape[2:])
        kernel[:, :, num_frames // 2] = weight
        return kernel
    raise ValueError(f"inflation rule {rule!r} is unknown; known: average, centre")


def resolve_weights(name_or_path: str, weights_dir: str | Path, for_training: bool = True) -> Path | str:
    """The file that a name or a path means: a published name is looked up in `weights_dir` as <name>.pth.

    URL-like names ("https://...") come back as they are. Raises FileNotFoundError, saying where the authors
    host published files and how to do without, when there is no such file.
    """
    if "://" in name_or_path:
        return name_or_path
    published = name_or_path in PUBLISHED_NAMES
    path = Path(weights_dir) / f"{name_or_path}.pth" if published else Path(name_or_path)
    if path.is_file():
        return path
    without = ' To train from scratch write TRAIN.INIT "" UNIFORMER.PRETRAIN_NAME ""' if for_training else ""
    raise FileNotFoundError(_how_to_get(name_or_path, path, published) + without)


def _sort(
    weights: Mapping[str, Tensor], targets: Mapping[str, Tensor], replace_head: bool, other_classes: bool
) -> tuple[LoadReport, dict[str, Tensor]]:
    """Put every tensor of file and model in one list of the report, and collect the values to copy."""
    report, values = LoadReport(), {}
    for name, target in targets.items():
        if name not in weights:
            report.missing.append(Entry(name, None, tuple(target.shape)))
            continue
        weight = weights[name]
        entry = Entry(name, tuple(weight.shape), tuple(target.shape))
        if weight.shape == target.shape and not (other_classes and name in HEAD_NAMES):
            report.matched.append(entry)
            values[name] = weight
        elif _is_flat_form(weight.shape, target.shape):
            report.inflated.append(entry)
            values[name] = inflate(weight, target.shape[2])
        elif replace_head and name in HEAD_NAMES and weight.shape[1:] == target.shape[1:]:
            report.replaced.append(entry)
        else:
            report.misfit.append(entry)
    report.unexpected.extend(
        Entry(name, tuple(weight.shape), None) for name, weight in weights.items() if name not in targets
    )
    return report, values


def _is_flat_form(shape: torch.Size, target: torch.Size) -> bool:
    """Whether a kernel of `shape` is one of shape `target` without the dimension of time."""
    return len(target) == 5 and tuple(shape) == (*target[:2], *target[3:])


def _allowed(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _complaint(
    problems: Mapping[str, list[Entry]], report: LoadReport, file: str | None, model: str | None
) -> str:
    lines = ["these weights do not fit the model, which was left as it was:"]
    for kind, entries in problems.items():
        rest = ", ..." if len(entries) > NAMES_IN_ERROR else ""
        named = ", ".join(map(str, entries[:NAMES_IN_ERROR]))
        lines.append(f"  {len(entries)} {kind}: {named}{rest}")
    lines.append(f"  ({len(report.matched)} matched, {len(report.inflated)} to inflate)")
    if file != model:
        lines.append(
            f"  The file looks like {file or 'no UniFormer'}; the model is {model or 'no UniFormer'}."
        )
    lines.append(
        "  Check that file and recipe are of one model (MODEL.MODEL_NAME, UNIFORMER.*); to start from what fits, "
        "give TRAIN.INIT_ALLOW patterns of these names"
    )
    return "\n".join(lines)


def _how_to_get(name: str, path: Path, published: bool) -> str:
    if published:
        return (
            f"{path} does not exist: put the published file {name}.pth there (its authors host it at "
            f"{PUBLISHED_AT}), or name its folder in MODEL.WEIGHTS_DIR."
        )
    near = difflib.get_close_matches(name, PUBLISHED_NAMES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"weights {name!r} do not exist: no such file, nor a published name. {hint}Published names: "
        f"{', '.join(PUBLISHED_NAMES)} (hosted at {PUBLISHED_AT})."
    )
