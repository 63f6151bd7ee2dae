"""Which videos and frame folders there are, and which of them an annotation means."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from slowfast.datasets.preparation.claims import settle
from slowfast.datasets.preparation.entries import Entry, Item, LeftOut
from slowfast.utils.names import normalised
from slowfast.utils.plural import counted

KINDS = ("videos", "frames")
NOUNS = {"videos": "video file", "frames": "frame folder"}  # what one of a kind is called
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .webm .mkv .mpg .mpeg .wmv .flv .3gp .ts .mts .m2ts .ogv .vob .asf".split()
)
IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp".split())
_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)")


@dataclass(frozen=True)
class FrameFolder:
    """num_frames: pictures counted. template: of their names, as in `template.format(1)`.

    problem: "" or why the folder cannot be used.
    """

    num_frames: int
    template: str = ""
    problem: str = ""


@dataclass
class MediaTree:
    """What a folder holds, in sorted order; made by `look`. Paths are relative to `root`, with "/".

    folders: names of those in `root` itself.
    videos: path → bytes. frames: path → FrameFolder. others: suffix → number of files that are neither.
    links: folder that a link leads to once more → where it was entered.
    """

    root: Path
    videos: dict[str, int] = field(default_factory=dict)
    frames: dict[str, FrameFolder] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)
    links: dict[str, str] = field(default_factory=dict)

    def paths(self, kind: str) -> list[str]:
        return list(self.videos if kind == "videos" else self.frames)

    def problem(self, path: str, kind: str) -> str:
        """Why a medium cannot stand in a list, or ""."""
        if kind == "frames":
            return self.frames[path].problem
        return "" if self.videos[path] else "empty file"

    def num_frames(self, path: str, kind: str) -> int | None:
        return self.frames[path].num_frames if kind == "frames" else None

    def files(self, path: str, kind: str) -> list[Path]:
        """What a medium consists of: the video file, or the pictures of a usable frame folder in their order."""
        if kind == "videos":
            return [self.root / path]
        folder = self.frames[path]
        return [self.root / path / folder.template.format(n) for n in range(1, folder.num_frames + 1)]

    def linked(self, kind: str) -> dict[str, str]:
        """Media that are there once more through a link to a folder: path there → path."""
        if not self.links:
            return {}
        below = defaultdict(list)
        for path in map(PurePosixPath, self.paths(kind)):
            for folder in (path, *path.parents):
                below[str(folder)].append(path)
        return {
            str(PurePosixPath(link) / path.relative_to(first)): str(path)
            for link, first in self.links.items()
            for path in below[first]
        }


def look(root: str | Path) -> MediaTree:
    """Walk through a folder, following links to folders; names that begin with a dot are passed over.

    A folder that is reached again through a link is entered once only; unless it holds the link, it is in `links`.

    Raises FileNotFoundError or ValueError if `root` is no folder, OSError if a folder in it cannot be read.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder (media)")
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder; give the folder that holds the videos or frame folders")
    tree, seen = MediaTree(root), {}
    for folder, names, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        inside = PurePosixPath(Path(folder).relative_to(root).as_posix())
        if real in seen:  # a link back to it, perhaps in a circle
            names.clear()
            if not inside.is_relative_to(seen[real]):
                tree.links[str(inside)] = str(seen[real])
            continue
        seen[real] = inside
        names[:] = sorted(name for name in names if not name.startswith("."))
        tree.folders = tree.folders if tree.folders or len(seen) > 1 else list(names)
        pictures = []
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in VIDEO_SUFFIXES:
                tree.videos[str(inside / name)] = file_size(os.path.join(folder, name))
            elif suffix in IMAGE_SUFFIXES:
                pictures.append(name)
            else:
                tree.others[suffix or "(no suffix)"] += 1
        if pictures:
            tree.frames[str(inside)] = frame_folder(pictures)
    tree.frames = _of_one_template(tree.frames)
    return tree


def frame_folder(names: Sequence[str]) -> FrameFolder:
    """Check the names of the pictures in a folder: numbered 1..n without gaps, and otherwise alike."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    if not all(matches):
        odd = names[matches.index(None)]
        return FrameFolder(len(names), problem=f"picture {odd!r} has no number at its end")
    shapes = {(match[1], match[3]) for match in matches}
    if len(shapes) > 1:
        return FrameFolder(len(names), problem=f"pictures with different names: {_two(matches)}")
    numbers = sorted(int(match[2]) for match in matches)
    if numbers != list(range(1, len(names) + 1)):
        return FrameFolder(len(names), problem=_gap(numbers))
    ((before, after),) = shapes
    shortest = min((match[2] for match in matches), key=len)
    template = f"{before}{{:0{len(shortest)}d}}{after}"
    if "{" in before + after or "}" in before + after or set(map(template.format, numbers)) != set(names):
        return FrameFolder(
            len(names), problem=f"names like {names[0]!r} follow no template such as {template!r}"
        )
    return FrameFolder(len(names), template)


def pictures_in(folder: str | os.PathLike) -> FrameFolder | None:
    """The pictures in a folder, as frames of one video; None where there are none. Raises OSError."""
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    pictures = sorted(name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES)
    return frame_folder(pictures) if pictures else None


def choose_kind(tree: MediaTree, use: str = "auto") -> str:
    """ "videos" or "frames": what the lists shall name. Raises ValueError where nothing or both could be meant."""
    if use not in ("auto", *KINDS):
        raise ValueError(f"unknown kind of media {use!r}; known: auto, {', '.join(KINDS)}")
    here = [kind for kind in KINDS if tree.paths(kind)]
    found = " and ".join(counted(len(tree.paths(kind)), NOUNS[kind]) for kind in KINDS)
    if not here or use not in ("auto", *here):
        others = ", ".join(f"{count} {suffix}" for suffix, count in tree.others.most_common(4))
        raise ValueError(
            f"{tree.root}: holds {found}" + (f" (but {others})" if others else "") + "; videos end in "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}, frames in {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if use == "auto" and len(here) > 1:
        raise ValueError(f"{tree.root}: holds {found}; say with --use videos or --use frames which to list")
    return use if use != "auto" else here[0]


def match(entries: Iterable[Entry], tree: MediaTree, kind: str) -> tuple[list[Item], list[LeftOut]]:
    """Find the medium of every entry, wherever in the tree it lies.

    Of several with the right name, one in a folder named like the class is taken, then the first by path; where names
    repeat in other classes, none in the folder of one of these. A medium is listed once: `claims.settle` says for which
    of the entries that name it. Raises ValueError if nothing is found.
    """
    entries = list(entries)
    found = _candidates(entries, tree.paths(kind), kind)
    claimants = defaultdict(list)
    for entry, paths in zip(entries, found, strict=True):
        if paths:
            claimants[paths[0]].append(entry)
    given_way = {path: settle(claiming)[1] for path, claiming in claimants.items()}
    items, left_out, copies = [], [], {}
    for entry, paths in zip(entries, found, strict=True):
        path, cause = paths[0] if paths else entry.names[0], ""
        reason = tree.problem(path, kind) if paths else f"not found ({entry.where})"
        if paths and not reason:
            cause, reason = given_way[path].get(entry, ("", ""))
        if reason:
            left_out.append(LeftOut(path, reason, entry.label, entry.split, cause))
            continue
        items.append(Item(path, entry.label, entry.split, tree.num_frames(path, kind)))
        copies |= {other: path for other in paths[1:] if other not in claimants}
    left_out += [LeftOut(other, f"{path} has the same name and is used") for other, path in copies.items()]
    if not items:
        raise ValueError(_none_listed(tree, kind, left_out))
    return items, left_out


def _candidates(entries: Sequence[Entry], paths: Sequence[str], kind: str) -> list[list[str]]:
    """For each entry the paths that it may mean, best first."""
    by_name = defaultdict(list)
    for path in paths:
        by_name[_bare(path, kind)].append(path)
    classes = {normalised(entry.class_name) for entry in entries}
    found = []
    for entry in entries:
        own = normalised(entry.class_name)
        others = classes - {own, ""} if entry.names_repeat else ()
        named = next((by_name[name] for name in entry.names if name in by_name), [])
        named = [path for path in named if _folder(path) not in others]
        found.append(sorted(named, key=lambda path: _folder(path) != own))
    return found


def _none_listed(tree: MediaTree, kind: str, left_out: Sequence[LeftOut]) -> str:
    first, seen = left_out[0], tree.paths(kind)
    here = counted(len(seen), NOUNS[kind])
    return (
        f"{tree.root}: none of the annotated videos ({len(left_out)}) can be listed; the first, {first.path!r}: "
        f"{first.reason}. What is there ({here}) is named like {seen[0]!r}"
    )


def _folder(path: str) -> str:
    """The folder that a medium lies in, spelled so that it can be compared with names of classes."""
    return normalised(PurePosixPath(path).parent.name)


def _bare(path: str, kind: str) -> str:
    name = PurePosixPath(path)
    return name.stem if kind == "videos" else name.name


def _of_one_template(frames: dict[str, FrameFolder]) -> dict[str, FrameFolder]:
    """A data set is read with one template: folders that differ from the most frequent one cannot be used."""
    counts = Counter(folder.template for folder in frames.values() if not folder.problem)
    if len(counts) < 2:
        return frames
    usual = min(counts, key=lambda template: (-counts[template], template))
    return {
        path: folder
        if folder.problem or folder.template == usual
        else replace(folder, problem=f"pictures are named {folder.template}, in most other folders {usual}")
        for path, folder in frames.items()
    }


def _gap(numbers: list[int]) -> str:
    if numbers[0] != 1:
        return f"pictures are numbered from {numbers[0]}; they must begin with 1"
    twice = [number for number, following in zip(numbers, numbers[1:], strict=False) if number == following]
    if twice:
        return f"picture {twice[0]} is there twice, with different numbers of digits"
    missing = next(n for n, number in enumerate(numbers, start=1) if number != n)
    return f"picture {missing} is missing: {len(numbers)} pictures, numbered up to {numbers[-1]}"


def _raise(error: OSError) -> None:
    raise error


def file_size(path: str | os.PathLike) -> int:
    """Bytes of a file; 0 for a link that leads nowhere."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _two(matches: Sequence[re.Match]) -> str:
    first = matches[0]
    other = next(match for match in matches if (match[1], match[3]) != (first[1], first[3]))
    return f"{first[0]!r} and {other[0]!r}"
