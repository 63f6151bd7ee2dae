"""The files in an uncompressed tar: where the bytes of each one lie, from the headers alone.

Imports nothing heavy: the worker processes of a preparation use it.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from slowfast.datasets.frames import UnreadableVideo

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_READ_AT_ONCE = 4096  # bytes; the default of some network disks is megabytes, for headers of 512 bytes
WRITE_PLAIN = (
    "write it as a plain tar: tar --dereference --hard-dereference -cf NAME.tar FOLDER, "
    "or tools/prepare_data.py shards"
)


class Member(NamedTuple):
    """A file in a tar: its bytes are `size` from `offset` on. mtime: whole seconds."""

    name: bytes
    offset: int
    size: int
    mtime: int


def read_members(path: str | os.PathLike) -> Iterator[Member]:
    """The files in a shard, in its order, from their headers alone.

    Raises ValueError for a tar that is compressed, truncated or damaged, and for links and sparse files, which are
    not stored byte for byte.
    """
    with open(path, "rb", buffering=_READ_AT_ONCE) as file:
        _refuse_compressed(path, file)
        size = os.fstat(file.fileno()).st_size
        try:
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
                for info in _headers(tar):
                    if not info.isdir():
                        yield _member(path, info, size)
                end = tar.offset
        except (tarfile.TarError, OSError, OverflowError, MemoryError) as error:
            # A damaged header may send tarfile anywhere, which the system finds invalid.
            if getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
                raise
            reason = str(error) or "a header asks for too much memory"
            raise ValueError(f"{path}: not a whole tar file ({reason}); copy or write it again") from error
        _require_end(path, file, end, size)


def read_stored(path: str | os.PathLike, offset: int, size: int) -> bytes:
    """The bytes of a member. Raises UnreadableVideo if the shard cannot be read or ends before them."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            content = _read_all(file, size)
    except OSError as error:
        raise UnreadableVideo(f"shard {path} cannot be read ({error.strerror or error})") from error
    if len(content) < size:
        raise UnreadableVideo(f"shard {path} has become shorter since this run began")
    return content


def plain_name(name: str) -> bytes:
    """A path in a list or a tar → what both are compared by: without a leading ./, in UTF-8."""
    return name.removeprefix("./").encode("utf-8", "surrogateescape")


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := tar.next()) is not None:
        yield info
        tar.members.clear()  # tarfile would keep a kilobyte for each


def _member(path: str | os.PathLike, info: tarfile.TarInfo, size: int) -> Member:
    if not info.isfile() or info.issparse():
        kind = "a link" if info.islnk() or info.issym() else "no plain file"
        raise ValueError(f"{path}: {info.name} is {kind}, which holds no video of its own; {WRITE_PLAIN}")
    if info.size < 0:
        raise ValueError(f"{path}: damaged: {info.name!r} has {info.size} bytes; copy or write it again")
    if info.offset_data + info.size > size:
        raise ValueError(
            f"{path}: truncated: {info.name} ends at byte {info.offset_data + info.size}, the file has {size}; copy "
            "or write it again"
        )
    return Member(plain_name(info.name), info.offset_data, info.size, int(info.mtime))


def _refuse_compressed(path: str | os.PathLike, file: BinaryIO) -> None:
    begin = file.read(6)
    for mark, how in _COMPRESSED.items():
        if begin.startswith(mark):
            raise ValueError(
                f"{path}: compressed with {how}, so it cannot be read from the middle; {WRITE_PLAIN}"
            )
    file.seek(0)


def _require_end(path: str | os.PathLike, file: BinaryIO, end: int, size: int) -> None:
    """A tar ends with blocks of zeros; tarfile takes the end of the file, or a damaged header, for its end too."""
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise ValueError(
            f"{path}: truncated: its {size} bytes end without the mark of a tar's end; copy or write it again"
        )
    if any(block):
        raise ValueError(f"{path}: damaged: byte {end} does not begin a member; copy or write it again")


def _read_all(file: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes: network disks may give less at a time than was asked for."""
    pieces, left = [], size
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
