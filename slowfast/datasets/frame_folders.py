"""A folder of image files, one per frame → the frames asked for, by number.

The counterpart of frames.py for videos whose frames were extracted beforehand. Frame n, counted from 0 as everywhere
here, is the file that the template names for n + 1: published lists and tools count files from 1. Frames are uint8,
(height, width, 3), RGB, 0..255, upright (EXIF orientation is applied). The number of frames comes from the list and
is trusted: a folder is looked into only to say what is wrong with it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from string import Formatter

import numpy as np
from PIL import Image, ImageOps

from slowfast.datasets.frames import UnreadableVideo

# What Pillow raises for damaged files, besides OSError.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def open_frame_folder(folder: str | os.PathLike, num_frames: int, template: str) -> FrameFolder:
    """Open a folder for reading frames by number; the same promises as `frames.open_video`.

    `num_frames` is what the list says, 1 or more. `template` names the file of a frame by its number from 1, such
    as img_{:05d}.jpg; nothing else is filled in, so the folder's own name may hold braces.

    Raises UnreadableVideo for a folder that is missing or does not hold the last frame, with what it holds.
    """
    reader = FrameFolder(os.fspath(folder), num_frames, template)
    if not os.path.isfile(reader.file(num_frames - 1)):
        raise UnreadableVideo(reader.what_is_wrong(num_frames - 1))
    return reader


class FrameFolder:
    """Frames of one video by number; made by `open_frame_folder`.

    num_frames: as the list says. fps: None, since images tell no time. damage: "", always: what is wrong with a
    folder is an error.
    """

    fps: float | None = None
    damage: str = ""

    def __init__(self, folder: str, num_frames: int, template: str):
        self.num_frames = num_frames
        self._folder, self._template = folder, template

    def file(self, number: int) -> str:
        """The file of frame `number`, counted from 0."""
        return os.path.join(self._folder, self._template.format(number + 1))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames with these numbers, uint8 (len(indices), height, width, 3), RGB.

        Numbers come in any order and may repeat; every file is decoded once.

        Raises UnreadableVideo if one of the files is missing, is no image, or has another size than the others.
        """
        wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        pictures = [self._picture(number) for number in wanted.tolist()]
        first = pictures[0]
        for number, picture in zip(wanted.tolist(), pictures, strict=True):
            if picture.shape != first.shape:
                raise UnreadableVideo(
                    f"frames of mixed size: {self._name(wanted[0])} is {_size(first)}, {self._name(number)} is "
                    f"{_size(picture)}; extract the frames of a video in one size"
                )
        return np.stack(pictures)[places]

    def check(self) -> None:
        """Look for frames that `read` would refuse, without decoding them all.

        Decoded are the first, the middle and the last one; of every other the header and the last bytes are compared
        with those of the first, and where they differ the frame is decoded too. So a frame of another size, an empty
        one and one that was cut off are found; one whose bytes changed in between only among the three.

        Raises UnreadableVideo as `read` does.
        """
        self.read([0, self.num_frames // 2, self.num_frames - 1])
        usual = _outline(self.file(0))
        for number in range(1, self.num_frames):
            if _outline(self.file(number)) != usual:
                self.read([0, number])

    def close(self) -> None:
        """Nothing stays open between reads."""

    def __enter__(self) -> FrameFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def what_is_wrong(self, number: int) -> str:
        """Why there is no file for frame `number`: looks into the folder, which reading itself never does."""
        if not os.path.isdir(self._folder):
            return "no such folder" if not os.path.exists(self._folder) else "a file, not a folder of frames"
        names = os.listdir(self._folder)
        found = {name for name in names if 0 <= self._number(name) <= self.num_frames}
        first, missing = self._template.format(0), self._name(number)
        if not found:
            return f"no frame {missing} in the folder: {_what_it_holds(names)}"
        numbered = found - {first}
        listed = f"the list says {self.num_frames} frames, the folder holds {len(numbered)} of them"
        if first in found and len(numbered) == self.num_frames - 1:
            return (
                f"{missing} is missing: files are numbered from 0 ({first}), and the first must be number 1"
            )
        absent = next(name for name in map(self._name, range(self.num_frames)) if name not in numbered)
        if absent == self._name(len(numbered)):
            return f"{absent} is missing: {listed}"
        return f"gaps in the numbering, the first at {absent}: {listed}"

    def _number(self, name: str) -> int:
        """The number that the template gives this name for, -1 for none. A list may say two thousand million frames."""
        parts = Formatter().parse(self._template)
        pattern = "".join(re.escape(text) + ("" if key is None else r"(\d+)") for text, key, *_ in parts)
        found = re.fullmatch(pattern, name)
        return int(found[1]) if found and self._template.format(int(found[1])) == name else -1

    def _name(self, number: int) -> str:
        return self._template.format(int(number) + 1)

    def _picture(self, number: int) -> np.ndarray:
        try:
            with Image.open(self.file(number)) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except FileNotFoundError:
            raise UnreadableVideo(self.what_is_wrong(number)) from None
        except _DAMAGED as error:
            reason = " ".join(str(error).replace(self._folder + os.sep, "").split())
            if not os.path.getsize(self.file(number)):
                reason = "empty file"
            raise UnreadableVideo(f"{self._name(number)} cannot be decoded ({reason})") from error


def _outline(file: str) -> tuple | None:
    """What pictures of one size that were written to their end have in common, read from the header and the last bytes.

    JPEG and PNG end alike in every file. None for what is no picture.
    """
    try:
        with open(file, "rb") as data, Image.open(data) as image:
            data.seek(-2, os.SEEK_END)
            return image.format, image.size, image.info.get("exif"), data.read()
    except _DAMAGED:
        return None


def _what_it_holds(names: Sequence[str]) -> str:
    """What a folder holds instead of the frames looked for, and the template that would fit."""
    names = sorted(name for name in names if not name.startswith("."))
    if not names:
        return "it is empty"
    for name in names:
        numbered = re.fullmatch(r"(.*?)(\d+)(\.[A-Za-z]+)", name)
        if numbered:
            before, digits, after = (part.replace("{", "{{").replace("}", "}}") for part in numbered.groups())
            width = f":0{len(digits)}d" if digits.startswith("0") else ""
            return (
                f"it holds {len(names)} entries such as {name}, for which "
                f"DATA.IMAGE_TEMPLATE is {before}{{{width}}}{after}"
            )
    return f"it holds {len(names)} entries such as {names[0]}"


def _size(picture: np.ndarray) -> str:
    height, width, _ = picture.shape
    return f"{width}x{height}"
