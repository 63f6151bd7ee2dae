"""What VIDEO, FOLDER and LIST on a command line mean: the videos, by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from slowfast.datasets.annotations import list_lines
from slowfast.datasets.checking.listing import read_listing
from slowfast.datasets.checking.sources import FolderSource, LostSource, ShardSource, VideoSource
from slowfast.datasets.preparation.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, look
from slowfast.datasets.video_views import Video

LIST_SUFFIXES = frozenset(".csv .txt .tsv .list .lst".split())

_LABELLED = re.compile(rb".*[,\t ]\s*\d+(;\d+)*")  # a line of a list of ours: it ends in labels
_SAMPLE = 100  # lines looked at to tell the two kinds of lists apart


@dataclass(frozen=True)
class NamedVideo:
    """A video as it was named or found, and what opens it."""

    name: str
    media: Video


def find_videos(sources: Sequence[str], media: str = "") -> list[NamedVideo]:
    """The videos that are meant by paths of video files, folders, and lists; each once, in the order given.

    A folder is searched to the bottom for videos, by their suffix, and for folders of numbered pictures, each of which
    is one video. A list is a text file (.csv, .txt, ...) with a path a line, or as training reads them; its paths start
    from ``media``, which may be a pattern of tar shards. What is listed but not there is a LostSource.

    Raises FileNotFoundError or ValueError for a source that is not there or in which no video is.
    """
    found = [video for source in sources for video in _meant_by(source, media)]
    return list({video.name: video for video in found}.values())


def _meant_by(source: str, media: str) -> list[NamedVideo]:
    path = Path(source)
    if "://" in source or (path.exists() and not path.is_file() and not path.is_dir()):
        raise ValueError(f"{source}: a stream or camera, which has no end; add --live to watch it")
    if not path.exists():
        raise FileNotFoundError(
            f"{source}: no such file or folder; give videos, folders of videos, or lists of videos"
        )
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() in LIST_SUFFIXES:
        return _in_list(path, media)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(
            f"{source}: a picture, not a video; for frames of a video give the folder that holds them"
        )
    return [NamedVideo(source, source)]


def _in_folder(folder: Path) -> list[NamedVideo]:
    tree = look(folder)
    videos = {path: str(folder / path) for path in tree.videos}
    with_videos = {os.path.dirname(path) or "." for path in tree.videos}
    for path, frames in tree.frames.items():
        if path in with_videos:  # pictures beside videos are no frames
            continue
        if frames.template:
            videos[path] = FolderSource(str(folder / path), frames.num_frames, frames.template)
        else:
            videos[path] = LostSource(f"a folder of pictures that are no frames of a video: {frames.problem}")
    if not videos:
        others = ", ".join(f"{count} {suffix}" for suffix, count in tree.others.most_common(4))
        raise ValueError(
            f"{folder}: holds no video" + (f" (but {others})" if others else "") + "; videos end in "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}, folders of frames hold pictures numbered from 1"
        )
    return [NamedVideo(str(folder / path), videos[path]) for path in sorted(videos)]


def _in_list(path: Path, media: str) -> list[NamedVideo]:
    lines = [line for _, line in list_lines(path)]
    if not lines:
        raise ValueError(f"{path}: no videos in this list; write a path a line")
    labelled = sum(bool(_LABELLED.fullmatch(line)) for line in islice(lines, _SAMPLE))
    if 2 * labelled > min(len(lines), _SAMPLE):
        videos = list(_labelled(path, media))
    else:
        videos = list(_plain(path, lines, media))
    if not any(_is_there(video.media) for video in videos):
        raise ValueError(
            f"{path}: none of the {len(videos)} listed is there, the first is {os.path.join(media, videos[0].name)}; "
            "say with --media what folder the paths start from"
        )
    return videos


def _labelled(path: Path, media: str) -> Iterator[NamedVideo]:
    listing = read_listing(path, media=media, spare_folder=str(path.parent))
    for key in dict.fromkeys(listing.keys()):
        source = listing.source(key)
        yield NamedVideo(key[0], source.path if isinstance(source, VideoSource) else source)


def _plain(path: Path, lines: Sequence[bytes], media: str) -> Iterator[NamedVideo]:
    for line in dict.fromkeys(lines):
        name = os.fsdecode(line)
        full = os.path.join(media, name)
        yield NamedVideo(name, _only_video(Path(full)) if os.path.isdir(full) else full)


def _only_video(folder: Path) -> Video:
    """What a list means by a folder: the frames, or the one video, in it."""
    try:
        videos = _in_folder(folder)
    except ValueError as error:
        return LostSource(str(error))
    if len(videos) > 1:
        return LostSource(f"a folder of {len(videos)} videos: list them, or give the folder itself")
    return videos[0].media


def _is_there(video: Video) -> bool:
    if isinstance(video, (str, FolderSource)):
        return os.path.exists(video if isinstance(video, str) else video.path)
    return isinstance(video, ShardSource)
