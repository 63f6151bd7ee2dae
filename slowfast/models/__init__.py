"""Models: built from a config with `build_model`, or with the plain constructors of their files."""

from typing import Any

__all__ = ["MODEL_REGISTRY", "build_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from slowfast.models import build

    return getattr(build, name)
