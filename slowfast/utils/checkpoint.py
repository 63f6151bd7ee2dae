"""Checkpoints: written whole or not at all, read as tensors and builtins only, found by their step.

The only module that calls `torch.save` and `torch.load`. What torch writes is a zip archive; its comment takes the
SHA-256 of all bytes, so that other programs read the file as if it had none, and no wrong byte stays
unnoticed: torch itself checks nothing when it reads, and the archive's own checksums leave out its index.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from slowfast.utils import atomic
from slowfast.utils.atomic import replace_file
from slowfast.utils.logging import get_logger

FOLDER = "checkpoints"
KEEP_STEPS = 2  # checkpoints in the middle of an epoch: the newest, and one in case that is damaged
_NOT_THE_CONTENT = (FileNotFoundError, PermissionError, MemoryError)  # errors that are not the file's fault
_SCALARS = (str, int, float, bool, type(None))
_PICKLE = b"\x80"  # what files of torch before 1.6 begin with
# The end of a zip archive: a record of that mark and size, whose last two bytes are the length of the comment after it
_END, _END_SIZE, _NO_COMMENT = b"PK\x05\x06", 22, b"\0\0"
_MARK = b"sha256="
_SEAL_SIZE = len(_NO_COMMENT) + len(_MARK) + 2 * hashlib.sha256().digest_size  # the length and the comment of ours


def epoch_path(output_dir: str | os.PathLike, epoch_done: int) -> Path:
    """File of the state after `epoch_done` epochs; names and folder are those of PySlowFast."""
    return Path(output_dir) / FOLDER / f"checkpoint_epoch_{epoch_done:05d}.pyth"


def step_path(output_dir: str | os.PathLike, steps_done: int) -> Path:
    """File of the state after `steps_done` steps, in the middle of an epoch."""
    return Path(output_dir) / FOLDER / f"checkpoint_step_{steps_done:08d}.pyth"


def best_path(output_dir: str | os.PathLike) -> Path:
    """File of the state with the best validation score."""
    return Path(output_dir) / "best.pyth"


def save(payload: dict[str, Any], path: str | os.PathLike) -> None:
    """Write a payload of tensors and builtins; any failure leaves the file that was there untouched.

    Raises ValueError for a value that is neither (see `as_plain`), OSError naming the file when the system
    refuses.
    """
    plain = as_plain(payload)
    with replace_file(path) as file:
        hashed = _Hashed(file)
        try:
            torch.save(plain, hashed)
        except RuntimeError as error:  # torch turns what ended a write, a full disk or Ctrl-C, into this
            raise hashed.ended_by or error from error
        _seal(file, hashed.digest.hexdigest())


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint to the CPU, refusing anything but tensors and builtins.

    `path` is a file, or a URL-like name that iopath understands. Raises FileNotFoundError, MemoryError, or ValueError
    that says in words why the file cannot be used (no checkpoint, cut off, damaged, holds code).
    """
    local = _local(path)
    _check_bytes(local, path)
    payload = _read(local, path)
    if not isinstance(payload, dict):
        raise ValueError(f"{path} is not a checkpoint: it holds a {type(payload).__name__}, not a dict")
    return payload


def verify(path: str | os.PathLike) -> str | None:
    """Read the whole file and its checksums; None if it is a sound checkpoint, else the reason in words."""
    try:
        load(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def newest(
    folder: str | os.PathLike, wanted: Callable[[dict[str, Any]], bool] = lambda payload: True
) -> Path | None:
    """The sound `*.pyth` file with the largest `global_step`, whatever the names; None if there is none.

    Only files whose content is `wanted` count. Those that cannot be used are passed over, and logged with the reason,
    each once in the life of this process.
    """
    for _, path in reversed(_by_step(Path(folder).glob("*.pyth"))):
        reason = verify(path)
        if reason is not None:
            _pass_over(reason)
        elif wanted(_read(path, path, mmap=True)):
            return path
    return None


def drop(folder: str | os.PathLike, after: int, up_to: int) -> list[Path]:
    """Delete the readable files of `epoch_path` and `step_path` of more than `after` steps, and no more than `up_to`.

    Returns them.
    """
    later = [path for step, path in _by_step(Path(folder).glob("checkpoint_*.pyth")) if after < step <= up_to]
    for path in later:
        path.unlink(missing_ok=True)
    return later


def prune(folder: str | os.PathLike, keep: int, spare: Path | None = None) -> list[Path]:
    """Delete all but the newest `keep` epoch files (0 keeps all) and the step files worth keeping; returns them.

    Of step files the newest KEEP_STEPS after the newest epoch file are worth it. Only readable files of these names
    count; foreign files stay, and so does `spare`, the one just written, whatever steps damaged files may name.
    """
    folder = Path(folder)
    epochs, steps = (_by_step(folder.glob(f"checkpoint_{kind}_*.pyth")) for kind in ("epoch", "step"))
    newest_epoch = epochs[-1][0] if epochs else -1
    later = [path for step, path in steps if step > newest_epoch]
    surplus = [path for _, path in epochs[:-keep]] if keep else []
    surplus += [path for _, path in steps if path not in later[-KEEP_STEPS:]]
    surplus = [path for path in surplus if path != spare]
    for path in surplus:
        path.unlink(missing_ok=True)
    return surplus


def sweep(output_dir: str | os.PathLike) -> None:
    """Delete what saves of an earlier process that was killed have left behind."""
    for folder in (Path(output_dir), Path(output_dir) / FOLDER):
        atomic.sweep(folder / "*.pyth")


def as_plain(value: Any, name: str = "payload") -> Any:
    """The value with dict subclasses turned into dicts and tensors detached.

    Raises ValueError naming the first item that is not a tensor, dict, list, tuple, str, int, float, bool
    or None: NumPy values, for instance, would make the file unreadable without running code from it.
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise ValueError(f"{name} has the key {key!r}; a checkpoint takes str and int keys only")
        return {key: as_plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(as_plain(item, f"{name}[{index}]") for index, item in enumerate(value))
    if type(value) in _SCALARS:
        return value
    raise ValueError(
        f"{name} is a {type(value).__module__}.{type(value).__qualname__}; "
        f"a checkpoint takes tensors, dict, list, tuple, str, int, float, bool and None only"
    )


def _by_step(paths: Any) -> list[tuple[int, Path]]:
    """Paths with their step, in rising order; unreadable ones are logged and left out."""
    found = []
    for path in paths:
        try:
            step = _read(path, path, mmap=True).get("global_step")
        except (ValueError, OSError, AttributeError) as error:
            _pass_over(str(error))
            continue
        if isinstance(step, int):
            found.append((step, path))
        else:
            _pass_over(f"{path} holds no global_step")
    return sorted(found)


@functools.cache
def _pass_over(reason: str) -> None:
    """Say so, once: files are looked through at every save."""
    get_logger(__name__).warning("checkpoint passed over: %s", reason)


def _local(path: str | os.PathLike) -> Path:
    """The file on this machine; URL-like names are fetched (and cached) by iopath."""
    name = os.fspath(path)
    if "://" in name:
        try:
            return Path(_path_manager().get_local_path(name))
        except Exception as error:  # handlers raise errors of their own kinds
            raise OSError(f"{name} could not be fetched: {error}") from error
    if not os.path.exists(name):
        raise FileNotFoundError(f"checkpoint not found: {name}")
    if os.path.isdir(name):
        raise ValueError(f"{name} is a folder, not a checkpoint file: name one in it, such as best.pyth of a run")
    return Path(name)


def _path_manager() -> Any:
    """iopath's global manager: handlers a user registered count, http and ftp always work."""
    from iopath.common.file_io import HTTPURLHandler, g_pathmgr

    try:
        g_pathmgr.register_handler(HTTPURLHandler(), allow_override=False)
    except KeyError:  # there is one already: this project's from an earlier call, or the user's
        pass
    return g_pathmgr


class _Hashed:
    """A file for torch to write to, with the digest of what it wrote, and what a write raised, if one did."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.ended_by: BaseException | None = None
        self.flush = file.flush
        self._write = file.write

    def write(self, data: memoryview) -> int:
        try:
            self.digest.update(data)
            return self._write(data)
        except BaseException as error:
            self.ended_by = error
            raise


def _seal(file: BinaryIO, digest: str) -> None:
    """Give the archive that `file` ends with a comment, the digest of what it has been so far."""
    comment = _MARK + digest.encode()
    file.seek(-len(_NO_COMMENT), os.SEEK_END)
    file.write(_length(comment) + comment)


def _length(comment: bytes) -> bytes:
    """What stands in front of a comment in an archive."""
    return len(comment).to_bytes(2, "little")


def _check_bytes(local: Path, name: str | os.PathLike) -> None:
    """Compare the checksum; damaged weights would load without a word. The format of torch before 1.6 has none."""
    with open(local, "rb") as file:
        start = file.read(2)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _SEAL_SIZE))
        end = file.read()
        length, mark, digest = end[:2], end[2 : 2 + len(_MARK)], end[2 + len(_MARK) :]
        sealed = mark == _MARK and length == _length(mark + digest)
        if sealed and _digest(file, size - _SEAL_SIZE) != digest:
            raise ValueError(f"{name} is damaged: its checksum is wrong")
    if not start:
        raise ValueError(f"{name} is empty")
    if start != b"PK" and start[:1] != _PICKLE and not sealed:
        raise ValueError(f"{name} is not a checkpoint: it does not begin as a file of torch.save does")
    if start == b"PK" and not sealed:
        if end[-_END_SIZE:][: len(_END)] != _END or not end.endswith(_NO_COMMENT):
            raise ValueError(f"{name} is damaged or cut off: it does not end as it should")
        _check_parts(local, name)


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first `size` bytes and of what stood there before the checksum."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (part := file.read(min(size, 1 << 20))):
        digest.update(part)
        size -= len(part)
    digest.update(_NO_COMMENT)
    return digest.hexdigest().encode()


def _check_parts(local: Path, name: str | os.PathLike) -> None:
    """Compare the checksums that torch wrote for each part of the archive, in a file that has no other."""
    try:
        with zipfile.ZipFile(local) as archive:
            damaged = archive.testzip()
    except _NOT_THE_CONTENT:
        raise
    except Exception as error:  # one wrong byte in the index can look like many things to zipfile
        raise ValueError(f"{name} is damaged or cut off ({error})") from error
    if damaged is not None:
        raise ValueError(f"{name} is damaged: the checksum of its part {damaged} is wrong")


def _read(local: Path, name: str | os.PathLike, mmap: bool = False) -> Any:
    try:
        return torch.load(local, map_location="cpu", weights_only=True, mmap=mmap)
    except MemoryError as error:
        raise MemoryError(f"{name} asks for more memory than there is, or is damaged") from error
    except _NOT_THE_CONTENT:
        raise
    except Exception as error:  # torch names no set: pickle, zip, key, type, system, runtime errors all occur
        raise ValueError(f"{name} cannot be read as a checkpoint: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    foreign = re.search(r"unsupported (?:global|class):?(?: global)? (\S+)", text, re.IGNORECASE)
    if foreign:
        return (
            f"it holds {foreign[1]}, but only tensors and builtins are read, because anything else could run "
            f"foreign code; if you trust the file, save its tensors alone with torch.save"
        )
    detail = "" if "weights_only" in text or not text.strip() else f" ({text.strip().splitlines()[0]})"
    return f"it is damaged, cut off, or was not written by torch.save{detail}"
