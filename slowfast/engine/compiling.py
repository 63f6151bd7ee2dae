"""A model's forward pass through torch.compile, and the plain one again, with the reason said, where that fails."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from logging import Logger
from typing import Any

import torch
from torch import nn


def compile_forward(model: nn.Module, log: Logger, backend: str | Callable = "inductor") -> None:
    """Let ``model`` compute through torch.compile from its next call on; its modules and names stay as they are.

    Compiling happens at the first call in each mode, and once more when batches turn out to vary in size; backward is
    compiled then too. If it fails the model goes on uncompiled and ``log`` gets one warning with the reason. An error
    that the model raises uncompiled too is its own, and is raised as it is. Copies of the model are not compiled.

    The pass in which compiling fails is computed again from its start: of a model that can be compiled in parts only,
    batch norms of the parts that went well count that batch twice.
    """
    model.forward = _CompiledForward(model.forward, log, backend)


def is_compiled(model: nn.Module) -> bool:
    """Whether ``model`` computes through torch.compile; no longer, once that failed."""
    return isinstance(model.forward, _CompiledForward) and model.forward.active


class _CompiledForward:
    """In place of a model's bound ``forward``; not a module, so that parameters keep their names."""

    def __init__(self, plain: Callable, log: Logger, backend: str | Callable) -> None:
        self._plain, self._log = plain, log
        self._compiled = None
        try:
            self._compiled = torch.compile(plain, backend=backend)
        except Exception as error:  # this version of Python, or this system, is not supported
            self._give_up(error)

    @property
    def active(self) -> bool:
        return self._compiled is not None

    def __call__(self, *inputs: Any) -> Any:
        if self._compiled is None:
            return self._plain(*inputs)
        try:
            with _backward_compiled_too():
                return self._compiled(*inputs)
        except Exception as error:  # whatever a compiler may raise, or the model itself: the plain pass tells
            failure = error
        outputs = self._plain(*inputs)
        self._give_up(failure)
        return outputs

    def __deepcopy__(self, memo: dict) -> Callable:
        return copy.deepcopy(self._plain, memo)  # bound to the copy of the model

    def _give_up(self, error: Exception) -> None:
        self._compiled = None
        self._log.warning(
            "MODEL.COMPILE: the model runs uncompiled, for compiling failed: %s", _reason(error)
        )


def _backward_compiled_too() -> AbstractContextManager:
    """Inside, a forward pass compiles its backward as well, where a failure can still be met with the plain pass.

    Else the framework compiles it when backward runs. Its older versions know no such setting.
    """
    from torch._functorch import config  # here, so that a version without it is met with the plain pass too

    setting = "force_non_lazy_backward_lowering"
    return config.patch(setting, True) if hasattr(config, setting) else nullcontext()


def _reason(error: Exception) -> str:
    """The first line of what a backend raised, which the framework wraps, with the kind of the error."""
    cause = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
