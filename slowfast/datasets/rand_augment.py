"""RandAugment on clips (Cubuk et al. 2020), in the form of timm that PySlowFast uses: parse and draw.

A policy string is parsed once; for each clip `draw_rand_augment` draws operations with all their arguments from a
numpy Generator, which `slowfast.datasets.clip_ops` computes, the same for every frame. Draws come in the published
order, so that the published random numbers give the published operations.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from slowfast.datasets.clip_ops import Operation

INTERPOLATIONS = ("bilinear", "bicubic", "random")


@dataclasses.dataclass(frozen=True)
class RandAugmentPolicy:
    """What `parse_policy` reads from a string such as "rand-m7-n4-mstd0.5-inc1"."""

    magnitude: int = 10
    """Strength, 0 to 10."""
    num_ops: int = 2
    """Operations chosen for a clip; each is then applied with probability 1/2."""
    magnitude_std: float = 0.0
    """Standard deviation of the normal noise on the magnitude of each operation."""
    increasing: bool = False
    """Take the variants of the operations whose effect grows with the magnitude."""
    weighted: bool = False
    """Choose operations by weight and without replacement instead of uniformly with replacement."""
    interpolation: str = "bicubic"
    """Filter of rotations, shears and shifts: bilinear, bicubic, or random (one of the two each time)."""


def parse_policy(text: str, interpolation: str = "bicubic") -> RandAugmentPolicy:
    """Reads AUG.AA_TYPE: "rand", then any of -m<0..10>, -n<count>, -mstd<number>, -inc<0|1>, -w0.

    interpolation is AUG.INTERPOLATION. Raises ValueError for anything else, also for an item given twice.
    (The published reader ignores items it does not know, takes inc0 for inc1 and unknown interpolations for
    bilinear.)
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"AUG.INTERPOLATION {interpolation!r} is unknown; write one of {', '.join(INTERPOLATIONS)}"
        )
    name, *items = text.split("-")
    if name != "rand":
        raise _policy_error(text, f"it must start with 'rand', not {name!r}")
    fields: dict[str, float] = {}
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None:
            raise _policy_error(text, f"{item!r} is not understood")
        field = match.lastgroup
        if field in fields:
            raise _policy_error(text, f"{item!r} sets {field} a second time")
        fields[field] = _READ[field](match[field])
    policy = RandAugmentPolicy(**fields, interpolation=interpolation)
    num_weighted = sum(weight > 0 for weight in WEIGHTS.values())
    if policy.weighted and policy.num_ops > num_weighted:
        raise _policy_error(text, f"w0 chooses without replacement from {num_weighted} operations")
    return policy


_ITEM = re.compile(
    r"m(?P<magnitude>\d|10)|n(?P<num_ops>[1-9]\d*)|mstd(?P<magnitude_std>\d+(?:\.\d+)?)"
    r"|inc(?P<increasing>[01])|w(?P<weighted>0)"
)
_READ: dict[str, Callable[[str], float]] = {
    "magnitude": int,
    "num_ops": int,
    "magnitude_std": float,
    "increasing": lambda value: value == "1",
    "weighted": lambda value: True,
}


def _policy_error(text: str, reason: str) -> ValueError:
    return ValueError(
        f"AUG.AA_TYPE {text!r}: {reason}; write 'rand' and then, joined by dashes, any of "
        "m<magnitude, integer 0 to 10>, n<number of operations>, mstd<deviation of the magnitude>, inc0 or "
        "inc1, w0 - such as rand-m7-n4-mstd0.5-inc1"
    )


def _enhance(level: float, rng: np.random.Generator) -> float:
    return level / 10 * 1.8 + 0.1


def _enhance_increasing(level: float, rng: np.random.Generator) -> float:
    return 1.0 + _signed(level / 10 * 0.9, rng)


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() > 0.5 else value


def _no_argument(level: float, rng: np.random.Generator) -> None:
    return None


# Magnitude (0..10) and a generator for the sign -> argument. The order of the keys is the published one.
ARGUMENTS: dict[str, Callable[[float, np.random.Generator], float | None]] = {
    "AutoContrast": _no_argument,
    "Equalize": _no_argument,
    "Invert": _no_argument,
    "Rotate": lambda level, rng: _signed(level / 10 * 30, rng),
    "Posterize": lambda level, rng: int(level / 10 * 4),
    "Solarize": lambda level, rng: int(level / 10 * 256),
    "SolarizeAdd": lambda level, rng: int(level / 10 * 110),
    "Color": _enhance,
    "Contrast": _enhance,
    "Brightness": _enhance,
    "Sharpness": _enhance,
    "ShearX": lambda level, rng: _signed(level / 10 * 0.3, rng),
    "ShearY": lambda level, rng: _signed(level / 10 * 0.3, rng),
    "TranslateXRel": lambda level, rng: _signed(level / 10 * 0.45, rng),
    "TranslateYRel": lambda level, rng: _signed(level / 10 * 0.45, rng),
}
# With inc1 these, too, change an image the more the larger the magnitude is.
ARGUMENTS_INCREASING = ARGUMENTS | {
    "Posterize": lambda level, rng: 4 - int(level / 10 * 4),
    "Solarize": lambda level, rng: 256 - int(level / 10 * 256),
    "Color": _enhance_increasing,
    "Contrast": _enhance_increasing,
    "Brightness": _enhance_increasing,
    "Sharpness": _enhance_increasing,
}
# Of the policy item w0.
WEIGHTS = {
    "AutoContrast": 0.025,
    "Equalize": 0.005,
    "Invert": 0.0,
    "Rotate": 0.3,
    "Posterize": 0.0,
    "Solarize": 0.005,
    "SolarizeAdd": 0.005,
    "Color": 0.025,
    "Contrast": 0.005,
    "Brightness": 0.005,
    "Sharpness": 0.025,
    "ShearX": 0.2,
    "ShearY": 0.2,
    "TranslateXRel": 0.1,
    "TranslateYRel": 0.1,
}


def draw_rand_augment(policy: RandAugmentPolicy, rng: np.random.Generator) -> list[Operation]:
    """The operations for one clip, 0 to policy.num_ops of them, in the order to apply them.

    With interpolation "random" each operation draws one filter for all its frames. (The published code draws
    one for each frame, which makes a still scene flicker.)
    """
    arguments = ARGUMENTS_INCREASING if policy.increasing else ARGUMENTS
    names = list(arguments)
    weights = np.array([WEIGHTS[name] for name in names]) if policy.weighted else None
    if weights is not None:
        weights /= weights.sum()
    chosen = rng.choice(len(names), policy.num_ops, replace=not policy.weighted, p=weights)
    operations = []
    for name in (names[index] for index in chosen):
        if rng.random() > 0.5:
            continue
        level = policy.magnitude
        if policy.magnitude_std > 0:
            level = rng.normal(policy.magnitude, policy.magnitude_std)
        argument = arguments[name](min(max(level, 0.0), 10.0), rng)
        interpolation = policy.interpolation
        if interpolation == "random":
            interpolation = "bilinear" if rng.random() < 0.5 else "bicubic"
        operations.append(Operation(name, argument, interpolation))
    return operations
