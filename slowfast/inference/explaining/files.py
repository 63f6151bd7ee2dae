"""An explanation as files: contact sheets, a film, and the maps as numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL.Image import Image
from torch import Tensor

from slowfast.datasets.video_writer import write_video
from slowfast.inference.explaining.colours import darkened, overlaid
from slowfast.inference.explaining.explanation import Explanation
from slowfast.inference.explaining.grids import FRAMES_PER_TOKEN, TokenGrid
from slowfast.inference.explaining.pictures import Row, captioned, sheet
from slowfast.inference.explaining.relations import Relation
from slowfast.utils.atomic import replace_file

FILM_SIDE = 320  # pixels, at least
_MIN_FPS, _MAX_FPS = 1.0, 60.0


def save(explanation: Explanation, folder: str | os.PathLike) -> list[Path]:
    """Write the files of an explanation into a folder, which is made; their paths.

    map.png, the clip and the map over it; map.mp4, the same as a film; relations.png; kept.png for models that keep a
    share of their tokens; maps.npz. Each replaces an older one as a whole. Raises OSError where that fails.
    """
    folder = Path(folder)
    pictures = {"map.png": map_sheet(explanation), "relations.png": relation_sheet(explanation)}
    if explanation.kept:
        pictures["kept.png"] = kept_sheet(explanation)
    for name, picture in pictures.items():
        with replace_file(folder / name) as file:
            picture.save(file, format="png")
    with replace_file(folder / "maps.npz") as file:
        np.savez_compressed(file, **numbers(explanation))
    _write_film(explanation, folder / "map.mp4")
    return [folder / name for name in (*pictures, "map.mp4", "maps.npz")]


def map_sheet(explanation: Explanation) -> Image:
    """Each frame of the clip, and below it the same with what speaks for the class."""
    view, found = explanation.view, explanation.class_map
    frames = view.pixels.numpy()
    heat = found.grid.to_pixels(found.heat, frames.shape[:3]).numpy()
    rows = [
        Row("as the\nmodel\nsees it", frames, {}),
        Row(f"what speaks\nfor the class\n{found.block}", overlaid(frames, heat), {}),
    ]
    return sheet(_title(explanation), rows, _times(explanation), scale="nothing for the class ... the most")


def relation_sheet(explanation: Explanation) -> Image:
    """A row for each relation: the token, framed, and the weights of those that it draws from.

    Shown are the frames that tokens are centred on, every second one of the clip.
    """
    frames = explanation.view.pixels.numpy()
    rows = [_relation_row(relation, frames) for relation in explanation.relations]
    title = [
        *_title(explanation),
        "From which tokens the framed one draws; each row from 0 to its own largest weight",
    ]
    return sheet(
        title, rows, _times(explanation)[::FRAMES_PER_TOKEN], scale="weight 0 ... the largest of the row"
    )


def _relation_row(relation: Relation, frames: np.ndarray) -> Row:
    time, row, column = relation.token
    heat = _squares(relation.weights / relation.weights.max().clamp(min=1e-12), relation.grid, frames)
    lines = [relation.block, "local" if relation.local else "global"]
    lines.append("all heads" if relation.head is None else f"head {relation.head}")
    lines.append(f"max {relation.weights.max():.2%}")
    if relation.class_token:
        lines.append(f"class {relation.class_token:.2%}")
    marks = {time: relation.grid.box(row, column)}
    return Row("\n".join(lines), overlaid(frames[::FRAMES_PER_TOKEN], heat), marks)


def kept_sheet(explanation: Explanation) -> Image:
    """A row for each block that keeps a share: the rest is dark. Frames are those of `relation_sheet`."""
    frames = explanation.view.pixels.numpy()
    rows = []
    for name, (kept, grid) in explanation.kept.items():
        seen = darkened(frames[::FRAMES_PER_TOKEN], _squares(kept, grid, frames) > 0.5)
        rows.append(Row(f"{name}\n{int(kept.sum())} of\n{kept.numel()}", seen, {}))
    title = [*_title(explanation), "Tokens that each block updates one by one; the rest shares one update"]
    return sheet(title, rows, _times(explanation)[::FRAMES_PER_TOKEN])


def _squares(values: Tensor, grid: TokenGrid, frames: np.ndarray) -> np.ndarray:
    """Values (T', H', W') of tokens on the squares that they stand for, float32 (T', H, W)."""
    return grid.to_pixels(values, frames.shape[:3], smooth=False).numpy()[::FRAMES_PER_TOKEN]


def numbers(explanation: Explanation) -> dict[str, np.ndarray]:
    """What maps.npz holds; maps are float16.

    map (T', H', W') times map_scale is the map in units of the logit. token_frames: the number, in the video, of the
    frame that tokens of each time are centred on; token_patch and token_offset: pixels, see TokenGrid. crop: top, left,
    height and width in pixels of the video. relation_BLOCK, with the token in relation_BLOCK_token; kept_BLOCK: bool.
    """
    view, found = explanation.view, explanation.class_map
    scale = max(float(found.values.abs().max()), 1e-30)
    values = {
        "map": (found.values / scale).numpy().astype(np.float16),
        "map_scale": np.float32(scale),
        "block": np.str_(found.block),
        "class_name": np.str_(explanation.class_name),
        "class_number": np.int64(found.class_number),
        "probability": np.float32(explanation.probability),
        "frame_numbers": view.frame_numbers,
        "times_seconds": view.times_seconds,
        "token_frames": _token_frames(view.frame_numbers, found.grid),
        "token_patch": np.int64(found.grid.patch),
        "token_offset": np.float32(found.grid.offset),
        "crop": np.array(view.box),
    }
    for relation in explanation.relations:
        values[f"relation_{relation.block}"] = relation.weights.numpy().astype(np.float16)
        values[f"relation_{relation.block}_token"] = np.array(relation.token)
    for name, (kept, _) in explanation.kept.items():
        values[f"kept_{name}"] = kept.numpy()
    return values


def _token_frames(frame_numbers: np.ndarray, grid: TokenGrid) -> np.ndarray:
    return frame_numbers[[grid.frame(time) for time in range(grid.shape[0])]]


def _write_film(explanation: Explanation, path: Path) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write_video(
            temporary, _film(explanation), film_rate(explanation.view.frame_numbers, explanation.view.fps)
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _film(explanation: Explanation) -> Iterator[np.ndarray]:
    """The frames of the clip with the map over them, and the class below."""
    view, found = explanation.view, explanation.class_map
    frames = view.pixels.numpy()
    heat = found.grid.to_pixels(found.heat, frames.shape[:3]).numpy()
    factor = -(-FILM_SIDE // min(frames.shape[1:3]))
    words = f"{explanation.class_name} {explanation.probability:.1%}"
    for frame, time in zip(overlaid(frames, heat), _times(explanation), strict=True):
        yield captioned(frame, [words, f"{time}, {found.block}"], factor)


def film_rate(frame_numbers: np.ndarray, fps: float) -> float:
    """Frames a second at which a clip lasts as long as what it shows, from 1 to 60."""
    step = (int(frame_numbers.max()) - int(frame_numbers.min())) / max(len(frame_numbers) - 1, 1)
    return min(max(fps / step if step else fps, _MIN_FPS), _MAX_FPS)


def _title(explanation: Explanation) -> list[str]:
    view = explanation.view
    return [
        f"{explanation.class_name}: {explanation.probability:.1%} of this view",
        f"{view.name}; the video: "
        + ", ".join(f"{name} {share:.1%}" for name, share in explanation.prediction.top(3)),
    ]


def _times(explanation: Explanation) -> list[str]:
    view = explanation.view
    return [
        f"{seconds:.2f} s, frame {number}"
        for seconds, number in zip(view.times_seconds, view.frame_numbers.tolist(), strict=True)
    ]
