"""Video classification with UniFormer: recipes, data, models, an engine that trains and tests them, and their use."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from slowfast.inference.build import load

    return load
