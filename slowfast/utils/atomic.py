"""Replacing a file as a whole: readers see the old content or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends without an exception.

    The bytes go to a hidden file in the same folder (made if missing), reach the disk, and are renamed over
    `path`. After any failure the hidden file is gone and `path` is as it was. Raises OSError naming `path`
    when the system refuses (disk full, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _named(error, path) from error
    finally:
        with suppress(OSError):  # usually it is gone: renamed, or never made
            temporary.unlink()
    _sync_folder(path.parent)


def sweep(path: str | os.PathLike) -> None:
    """Delete the hidden files that `replace_file` left for `path`, or all paths of a pattern, in processes now killed.

    To be called where one process alone writes these files.
    """
    path = Path(path)
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)


def _named(error: OSError, path: Path) -> OSError:
    """The same kind of error, with a message that names the file and says that nothing was lost."""
    kept = "the file that was there before is unchanged" if path.exists() else "nothing was left behind"
    reason = error.strerror or str(error)
    named = type(error)(f"cannot write {path}: {reason}; {kept}")
    named.errno = error.errno
    return named


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where folders can be synchronised."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # network disks may refuse it, and the file itself is whole
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
