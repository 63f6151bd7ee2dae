"""Seeds and generators that depend on named keys only, so no draw ever needs a global random stream."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derive(*keys: int | str) -> int:
    """Hash keys to a seed in [0, 2**63).

    The same keys give the same seed on every machine and in every version of Python. Order and type count:
    `derive(1, 2)`, `derive(2, 1)`, `derive(12)` and `derive("1", 2)` all differ. Raises TypeError for a key
    that is neither an integer nor a string.
    """
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        if isinstance(key, str):
            tag, text = b"s", key.encode("utf-8", "surrogateescape")
        else:
            tag, text = b"i", str(operator.index(key)).encode("ascii")
        digest.update(tag + str(len(text)).encode("ascii") + b":" + text)
    return int.from_bytes(digest.digest(), "little") >> 1


def numpy_generator(*keys: int | str) -> np.random.Generator:
    """A NumPy generator whose stream is a function of the keys alone."""
    return np.random.Generator(np.random.Philox(key=derive(*keys)))


@contextmanager
def forked_torch_stream(*keys: int | str) -> Iterator[None]:
    """Inside the block torch's CPU stream depends on the keys alone; afterwards it is as it was.

    For code that takes no generator, such as the initialisation of modules.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(*keys))
        yield
