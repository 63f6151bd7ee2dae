"""Data: from lists of videos to batches of views, built from a config with ``build_loader``."""

from typing import Any

__all__ = ["DATASET_REGISTRY", "build_loader"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from slowfast.datasets import build

    return getattr(build, name)
