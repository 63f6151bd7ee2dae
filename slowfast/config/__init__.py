"""The configuration of a run: ``load_cfg`` reads a recipe, ``get_cfg`` and ``resolve`` serve programs."""

from importlib import import_module
from typing import Any

_HOMES = {
    "CfgNode": "node",
    "ConfigError": "sources",
    "get_cfg": "defaults",
    "load_cfg": "loading",
    "resolve": "resolving",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
