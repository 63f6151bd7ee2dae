"""What a trained model is used for after training: one checkpoint in, names and probabilities out."""

from typing import Any

__all__ = ["VideoClassifier", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from slowfast.inference import build, classifier

    return build.load if name == "load" else classifier.VideoClassifier
