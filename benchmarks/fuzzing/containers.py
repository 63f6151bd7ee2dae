"""Which bytes of a video file are header, index or payload, in the containers that the fuzzer damages.

Index is what tells where pictures lie and when they are shown; a container without a table of its own (MPEG-TS, GIF,
FLV) has it in front of every piece, and those bytes count. Header is everything else that is no picture or sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

HEADER, INDEX, PAYLOAD = range(3)
REGIONS = ("header", "index", "payload")

_MP4_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_MP4_TABLES = (b"stts", b"stss", b"ctts", b"stsc", b"stsz", b"stco", b"co64", b"sidx", b"moof", b"mfra")
_SEGMENT, _SEEK_HEAD, _CUES, _CLUSTER = 0x18538067, 0x114D9B74, 0x1C53BB6B, 0x1F43B675
_TS_PACKET = 188


def label(data: bytes, suffix: str) -> np.ndarray:
    """uint8 (len(data),): HEADER, INDEX or PAYLOAD for each byte of a sound file, of a kind that `LABELLERS` knows."""
    labels = np.full(len(data), HEADER, dtype=np.uint8)
    LABELLERS[suffix](data, labels)
    return labels


# ----------------------------------------------------------------------------------------------------------
# MP4 and MOV: boxes (ISO 14496-12, section 4.2)
# ----------------------------------------------------------------------------------------------------------
def _label_mp4(data: bytes, labels: np.ndarray) -> None:
    for kind, begin, end in _boxes(data, 0, len(data)):
        if kind in _MP4_TABLES:
            labels[begin:end] = INDEX
        elif kind == b"mdat":
            labels[begin + 8 : end] = PAYLOAD


def _boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte, byte after the last) of every box and of those in it."""
    while begin + 8 <= end:
        size, kind = int.from_bytes(data[begin : begin + 4], "big"), data[begin + 4 : begin + 8]
        if size == 1:
            size = int.from_bytes(data[begin + 8 : begin + 16], "big")
        stop = begin + size if size else end
        yield kind, begin, stop
        if kind in _MP4_PARENTS:
            yield from _boxes(data, begin + 8, stop)
        begin = stop


# ----------------------------------------------------------------------------------------------------------
# AVI: chunks of RIFF
# ----------------------------------------------------------------------------------------------------------
def _label_avi(data: bytes, labels: np.ndarray) -> None:
    begin = 12  # RIFF, size, AVI
    while begin + 8 <= len(data):
        kind, size = data[begin : begin + 4], int.from_bytes(data[begin + 4 : begin + 8], "little")
        if kind == b"LIST" and data[begin + 8 : begin + 12] == b"movi":
            labels[begin + 12 : begin + 8 + size] = PAYLOAD
        elif kind == b"idx1":
            labels[begin : begin + 8 + size] = INDEX
        begin += 8 + size + size % 2


# ----------------------------------------------------------------------------------------------------------
# Matroska and WebM: EBML elements (RFC 8794, RFC 9559)
# ----------------------------------------------------------------------------------------------------------
def _label_matroska(data: bytes, labels: np.ndarray) -> None:
    for name, begin, body, end in _elements(data, 0):
        if name in (_SEEK_HEAD, _CUES):
            labels[begin:end] = INDEX
        elif name == _CLUSTER:
            labels[body:end] = PAYLOAD


def _elements(data: bytes, begin: int) -> Iterator[tuple[int, int, int, int]]:
    """(id, first byte, first byte of the content, byte after the last) of the elements outside of and in a segment."""
    while begin < len(data):
        name, place = _variable_number(data, begin, keep_marker=True)
        size, body = _variable_number(data, place, keep_marker=False)
        yield name, begin, body, body + size
        begin = body if name == _SEGMENT else body + size


def _variable_number(data: bytes, begin: int, *, keep_marker: bool) -> tuple[int, int]:
    length = 9 - data[begin].bit_length()
    number = int.from_bytes(data[begin : begin + length], "big")
    return number if keep_marker else number & ((1 << 7 * length) - 1), begin + length


# ----------------------------------------------------------------------------------------------------------
# Containers without a table
# ----------------------------------------------------------------------------------------------------------
def _label_mpegts(data: bytes, labels: np.ndarray) -> None:
    """Tables of programs are header; heads of packets, and the times in front of a picture, index (ISO 13818-1)."""
    for begin in range(0, len(data) - _TS_PACKET + 1, _TS_PACKET):
        end, body = begin + _TS_PACKET, begin + 4
        if data[begin + 3] & 0x20:  # an adaptation field
            body += 1 + data[body]
        starts = data[begin + 1] & 0x40
        if starts and data[body : body + 3] == b"\0\0\1":
            body += 9 + data[body + 8]
        elif starts:
            continue
        labels[begin:body] = INDEX
        labels[body:end] = PAYLOAD


def _label_gif(data: bytes, labels: np.ndarray) -> None:
    place = 13 + _colour_table(data[10])
    while data[place] != 0x3B:  # the trailer
        begin = place
        if data[place] == 0x2C:  # a picture: its place and size, colours, bits of a code
            place += 11 + _colour_table(data[place + 9])
        else:  # an extension, with the time of the next picture
            place += 2
        labels[begin:place] = INDEX
        while data[place]:
            labels[place] = INDEX
            labels[place + 1 : place + 1 + data[place]] = PAYLOAD if data[begin] == 0x2C else INDEX
            place += 1 + data[place]
        place += 1


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _label_flv(data: bytes, labels: np.ndarray) -> None:
    place = 13
    while place + 11 <= len(data):
        body = place + 11
        end = body + int.from_bytes(data[place + 1 : place + 4], "big")
        if data[place] in (8, 9):  # sound or a picture
            labels[place : end + 4] = INDEX
            labels[body:end] = PAYLOAD
        place = end + 4


LABELLERS: dict[str, Callable[[bytes, np.ndarray], None]] = {
    ".mp4": _label_mp4,
    ".mov": _label_mp4,
    ".avi": _label_avi,
    ".mkv": _label_matroska,
    ".webm": _label_matroska,
    ".ts": _label_mpegts,
    ".gif": _label_gif,
    ".flv": _label_flv,
}
