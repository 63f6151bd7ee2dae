"""Made-up videos of eight motions that no single frame gives away, for a first run that trains in minutes.

Every clip shows a few two-part objects that all move as the class says, over almost still clutter and noise.
`draw_scene` decides everything but the class, `render_scene` is a deterministic function of scene and class,
and the rest of the file writes H.264 clips and the lists that a recipe reads.

Why a single frame says nothing: places are uniform on a square field so much larger than the picture that its
edge never comes into sight, and angles are uniform on the circle, so both look alike at any time; sizes of a
clip share a factor that the growing classes sweep over and all others draw at random from the same range.
Opposite classes are each other's time reversal. The whole scene turns, about the middle of the picture: objects
that only turned about themselves were told apart by chance after the same training.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from slowfast.datasets.video_writer import write_video
from slowfast.utils.seeds import numpy_generator

# Opposites stand side by side: label ^ 1 is the same motion backwards.
CLASS_NAMES = (
    "move right",
    "move left",
    "move down",
    "move up",
    "grow",
    "shrink",
    "turn clockwise",
    "turn anticlockwise",
)
SPLITS = ("train", "val", "test")

# Rates a frame, drawn once a clip. Lengths are in units of the short side. Sampled every second frame at 48
# pixels, a clip moves 0.9-1.6 pixels, grows by 7-11 % or turns by 4-7 degrees, which 15 pixels from the middle is
# 1.0-1.7 pixels, from one sampled frame to the next.
_SPEED = (0.009, 0.016)
_GROWTH = (0.030, 0.050)
_SPIN = (0.035, 0.060)
_RADIUS = (0.12, 0.18)
_NUM_OBJECTS = (8, 11)  # on the area of a picture, and so of clutter
_NUM_CLUTTER = (2, 4)
_CLUTTER_DRIFT = 0.002
_GROUND = (30, 90)
_CONTRAST = (90, 140)
_NOISE_STD = 2.0

# Two rectangles each, (centre x, centre y, half width, half height) with the object's radius as unit: none
# looks the same turned by less than a full turn, and all have most of their area away from the centre.
SHAPES = np.array(
    [
        [[-0.45, 0.0, 0.40, 0.95], [0.35, 0.55, 0.50, 0.40]],
        [[0.0, 0.25, 0.35, 0.70], [0.0, -0.60, 0.80, 0.40]],
        [[0.0, 0.35, 0.45, 0.65], [0.0, -0.65, 0.45, 0.35]],
        [[-0.35, 0.0, 0.35, 0.95], [0.40, -0.50, 0.45, 0.45]],
    ],
    dtype=np.float32,
)
_REACH = 1.3  # no part of a shape is further from its centre, in radii


@dataclass(frozen=True)
class Objects:
    """N two-part objects at mid-clip: places and radii in pixels, angles in radians, colours 0..255."""

    centre: np.ndarray  # (N, 2) x, y from the middle of the picture
    radius: np.ndarray  # (N,)
    angle: np.ndarray  # (N,)
    shape: np.ndarray  # (N,) row of SHAPES
    colour: np.ndarray  # (N, 2, 3) of the two parts


@dataclass(frozen=True)
class Scene:
    """All of a clip but its class. Rates are a frame; `size_phase` in -0.5..0.5 sets the size when nothing
    grows."""

    height: int
    width: int
    corners: np.ndarray  # (2, 2, 3) background colours, blended between
    clutter: Objects
    objects: Objects
    drift: tuple[float, float]  # of the clutter, pixels
    speed: float  # pixels
    growth: float  # natural log of the factor
    spin: float  # radians
    size_phase: float


def draw_scene(rng: np.random.Generator, height: int, width: int, num_frames: int = 24) -> Scene:
    """Draw a scene for clips of up to `num_frames`.

    The class plays no part, so the same generator state gives all classes the same scene.
    """
    short = min(height, width)
    half = _field(height, width, num_frames)
    ground = rng.uniform(*_GROUND, size=3)
    corners = ground + rng.uniform(-25, 25, size=(2, 2, 3))
    clutter = _draw_objects(
        rng, rng.integers(*_NUM_CLUTTER, endpoint=True), height, width, half, ground, contrast=0.5
    )
    objects = _draw_objects(
        rng, rng.integers(*_NUM_OBJECTS, endpoint=True), height, width, half, ground, contrast=1.0
    )
    return Scene(
        height=height,
        width=width,
        corners=corners,
        clutter=clutter,
        objects=objects,
        drift=tuple(rng.uniform(-_CLUTTER_DRIFT, _CLUTTER_DRIFT, size=2) * short),
        speed=rng.uniform(*_SPEED) * short,
        growth=rng.uniform(*_GROWTH),
        spin=rng.uniform(*_SPIN),
        size_phase=rng.uniform(-0.5, 0.5),
    )


def render_scene(scene: Scene, label: int, num_frames: int) -> np.ndarray:
    """Frames of `scene` when it moves as class `label` says: float32 (T, 3, H, W) in 0..255, without noise.

    Time is centred on the middle of the clip, so the frames of label ^ 1 (with the drift negated) are these
    reversed. Raises ValueError for an unknown label.
    """
    shift, scale, turn = motion_of(scene, label, num_frames)
    drift = _times(num_frames)[:, None] * np.array(scene.drift, np.float32)
    canvas = np.repeat(_background(scene)[None], num_frames, axis=0)
    _paint(canvas, scene.clutter, drift, np.ones_like(scale), np.zeros_like(turn))
    _paint(canvas, scene.objects, shift, scale, turn)
    return canvas


def render_clip(
    label: int, rng: np.random.Generator, *, num_frames: int = 24, height: int = 64, width: int = 84
) -> np.ndarray:
    """One clip of class `label`, a pure function of its arguments: uint8 (T, H, W, 3) RGB with noise."""
    frames = render_scene(draw_scene(rng, height, width, num_frames), label, num_frames)
    frames += _NOISE_STD * rng.standard_normal((num_frames, 1, height, width), dtype=np.float32)
    pixels = np.clip(np.rint(frames, out=frames), 0, 255, out=frames).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def motion_of(scene: Scene, label: int, num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What happens to the objects in each frame: shift (T, 2) in pixels, scale (T,), and turn (T,) in radians.

    Raises ValueError for an unknown label.
    """
    if not 0 <= label < len(CLASS_NAMES):
        raise ValueError(f"label must be 0..{len(CLASS_NAMES) - 1} ({', '.join(CLASS_NAMES)}), not {label}")
    time = _times(num_frames)
    sign = 1.0 if label % 2 == 0 else -1.0
    motion, still = CLASS_NAMES[label & ~1], np.zeros_like(time)
    along = sign * scene.speed * time
    shift = np.stack(
        [along if motion == "move right" else still, along if motion == "move down" else still], axis=-1
    )
    phase = sign * time if motion == "grow" else np.full_like(time, scene.size_phase * (num_frames - 1))
    turn = sign * scene.spin * time if motion == "turn clockwise" else still
    return shift, np.exp(scene.growth * phase), turn


def places(centre: np.ndarray, size: tuple[int, int], shift: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Where an object's centre (2,) is in a picture of this (width, height): turned about its middle, moved; (T, 2)."""
    x, y = centre
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array(size) / 2 + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1) + shift


def _times(num_frames: int) -> np.ndarray:
    """Frames from the middle of the clip, (T,)."""
    return np.arange(num_frames, dtype=np.float32) - (num_frames - 1) / 2


def _draw_objects(
    rng: np.random.Generator,
    per_picture: int,
    height: int,
    width: int,
    half: float,
    ground: np.ndarray,
    contrast: float,
) -> Objects:
    """Objects anywhere on a field of +-`half`, `per_picture` on the area of a picture, lighter than the ground."""
    count = round(per_picture * (2 * half) ** 2 / (height * width))
    radius = rng.uniform(*_RADIUS, size=count) * min(height, width)
    lightness = ground + contrast * rng.uniform(*_CONTRAST, size=(count, 2, 1))
    return Objects(
        centre=rng.uniform(-half, half, size=(count, 2)),
        radius=radius,
        angle=rng.uniform(0, 2 * np.pi, size=count),
        shape=rng.integers(len(SHAPES), size=count),
        colour=np.clip(lightness + contrast * rng.uniform(-40, 40, size=(count, 2, 3)), 0, 255),
    )


def _field(height: int, width: int, num_frames: int) -> float:
    """Half the side of the square around the picture that holds objects.

    It is so large that no motion brings its edge into the picture: the objects in sight are spread evenly at any
    time, whatever the class.
    """
    half_diagonal = np.hypot(height, width) / 2
    short = min(height, width)
    return (
        max(half_diagonal, max(height, width) / 2 + num_frames / 2 * _SPEED[1] * short)
        + 1.2 * _RADIUS[1] * short
    )


def _background(scene: Scene) -> np.ndarray:
    """Bilinear blend of the four corner colours, float32 (3, H, W)."""
    y = np.linspace(0, 1, scene.height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, scene.width, dtype=np.float32)
    (top_left, top_right), (low_left, low_right) = scene.corners.astype(np.float32)[..., None, None]
    return (1 - y) * ((1 - x) * top_left + x * top_right) + y * ((1 - x) * low_left + x * low_right)


def _paint(
    canvas: np.ndarray, objects: Objects, shift: np.ndarray, scale: np.ndarray, turn: np.ndarray
) -> None:
    """Draw every object into canvas (T, 3, H, W): shift (T, 2) in pixels, scale (T,), and turn (T,) in radians
    about the middle of the picture."""
    for centre, radius, angle, shape, colour in zip(
        objects.centre, objects.radius, objects.angle, objects.shape, objects.colour, strict=True
    ):
        place = places(centre, canvas.shape[:1:-1], shift, turn)
        _paint_one(canvas, place, radius * scale, angle + turn, SHAPES[shape], colour.astype(np.float32))


def _paint_one(
    canvas: np.ndarray,
    place: np.ndarray,
    radius: np.ndarray,
    angle: np.ndarray,
    parts: np.ndarray,
    colour: np.ndarray,
) -> None:
    """Blend one object into every frame; cover falls from 1 to 0 over the pixel on a part's edge."""
    reach = int(np.ceil(_REACH * radius.max())) + 1
    size = np.array(canvas.shape[:1:-1])
    seen = np.flatnonzero(((place > -reach) & (place < size + reach)).all(axis=1))
    if len(seen) == 0:
        return
    place, radius, angle = place[seen], radius[seen], angle[seen]
    corner = np.floor(place).astype(int) - reach
    grid = np.arange(2 * reach + 1, dtype=np.float32)
    x = grid + (corner[:, 0] - place[:, 0]).astype(np.float32)[:, None, None]
    y = grid[:, None] + (corner[:, 1] - place[:, 1]).astype(np.float32)[:, None, None]
    cos, sin, radius = (v.astype(np.float32)[:, None, None] for v in (np.cos(angle), np.sin(angle), radius))
    # In the object's own axes. y points down, so a rising angle is clockwise.
    along, across = cos * x + sin * y, cos * y - sin * x
    first, second = (_cover(along, across, part, radius) for part in parts)
    clear = (1 - first) * (1 - second)
    first *= 1 - second
    patch = first[:, None] * colour[0, :, None, None] + second[:, None] * colour[1, :, None, None]
    _blend(canvas, seen, corner, patch, clear)


def _cover(along: np.ndarray, across: np.ndarray, part: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Share 0..1 of each pixel inside the rectangle `part`, to about a pixel's width."""
    x, y, half_width, half_height = part
    beyond_x = np.abs(along - x * radius) - half_width * radius
    beyond_y = np.abs(across - y * radius) - half_height * radius
    return np.clip(0.5 - np.maximum(beyond_x, beyond_y), 0, 1)


def _blend(
    canvas: np.ndarray, seen: np.ndarray, corner: np.ndarray, patch: np.ndarray, clear: np.ndarray
) -> None:
    """canvas x clear + patch in the frames `seen`, where a patch lies inside the picture."""
    height, width = canvas.shape[2:]
    size = clear.shape[-1]
    for number, (left, top), colour, through in zip(seen, corner, patch, clear, strict=True):
        x0, x1, y0, y1 = max(left, 0), min(left + size, width), max(top, 0), min(top + size, height)
        if x0 < x1 and y0 < y1:
            rows, columns = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
            region = canvas[number, :, y0:y1, x0:x1]
            region *= through[rows, columns]
            region += colour[:, rows, columns]


# Raised when the rendering changes, so that data written by an older version is made anew.
_FORMAT = 2
_MARKER = "synthetic.json"
_MEDIA = "clips"
_FPS = 12
_BLOCK = 16  # sides are multiples of H.264's macroblock
# mbtree off: with it x264's rate control gave other bytes for the same frames every tenth time.
_ENCODER = {"preset": "veryfast", "crf": "20", "g": "12", "mbtree": "0"}


@dataclass(frozen=True)
class DatasetSettings:
    """What the files of a synthetic data set depend on, and nothing else. Clips are counted per class."""

    seed: int = 0
    train_clips: int = 300
    val_clips: int = 25
    test_clips: int = 50
    min_size: int = 64
    max_size: int = 96
    frames: int = 24

    def __post_init__(self) -> None:
        if min(self.train_clips, self.val_clips, self.test_clips) < 1:
            raise ValueError(
                "--train-clips, --val-clips and --test-clips: every split needs at least one clip a class"
            )
        if self.min_size < 1 or -(-self.min_size // _BLOCK) > self.max_size // _BLOCK:
            raise ValueError(
                f"--size {self.min_size}..{self.max_size}: write SHORTEST..LONGEST "
                f"with a multiple of {_BLOCK} in between"
            )
        if self.frames < 1:
            raise ValueError(f"--frames must be 1 or more, not {self.frames}")

    def clips(self, split: str) -> int:
        return {"train": self.train_clips, "val": self.val_clips, "test": self.test_clips}[split]


def write_dataset(folder: str | Path, settings: DatasetSettings, *, processes: int | None = None) -> bool:
    """Write clips, train.csv, val.csv, test.csv (`path label`, paths relative to `folder`) and classes.txt.

    The files depend on `settings` alone, not on `processes` (default: one a core). synthetic.json says
    whether the folder is finished: if it is, with equal settings, nothing is done and False comes back;
    whatever an interrupted run or other settings left is written anew. Raises ValueError for a folder that
    holds anything else.
    """
    folder = Path(folder)
    finished = {"format": _FORMAT, "finished": True, **asdict(settings)}
    if _read_marker(folder) == finished:
        return False
    _claim(folder, finished)
    jobs = [
        (settings, folder, split, label, number)
        for split in SPLITS
        for label in range(len(CLASS_NAMES))
        for number in range(settings.clips(split))
    ]
    with ProcessPoolExecutor(processes or _cores()) as pool:
        lines = list(pool.map(_write_clip, jobs, chunksize=32))
    for split in SPLITS:
        chosen = [line for job, line in zip(jobs, lines, strict=True) if job[2] == split]
        (folder / f"{split}.csv").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n", encoding="utf-8")
    _write_marker(folder, finished)
    return True


def _write_clip(job: tuple[DatasetSettings, Path, str, int, int]) -> str:
    """Render and encode one clip; returns its line of the list."""
    settings, folder, split, label, number = job
    rng = numpy_generator("synthetic", settings.seed, split, label, number)
    shortest, longest = settings.min_size, settings.max_size
    short = _BLOCK * int(rng.integers(-(-shortest // _BLOCK), longest // _BLOCK, endpoint=True))
    long = short + _BLOCK * int(rng.integers(1, 2, endpoint=True))
    height, width = (short, long) if rng.random() < 0.7 else (long, short)
    frames = render_clip(label, rng, num_frames=settings.frames, height=height, width=width)
    name = f"{_MEDIA}/{split}/{CLASS_NAMES[label].replace(' ', '_')}_{number:04d}.mp4"
    write_video(folder / name, frames, _FPS, options=_ENCODER)
    return f"{name} {label}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _claim(folder: Path, finished: dict) -> None:
    """Empty `folder` of what an earlier run of ours left, and mark it unfinished."""
    if folder.exists() and any(folder.iterdir()) and _read_marker(folder) is None:
        raise ValueError(f"{folder} is not empty and has no {_MARKER} of ours; name a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    _write_marker(folder, {**finished, "finished": False})
    shutil.rmtree(folder / _MEDIA, ignore_errors=True)
    for split in SPLITS:
        (folder / f"{split}.csv").unlink(missing_ok=True)
        (folder / _MEDIA / split).mkdir(parents=True)


def _read_marker(folder: Path) -> dict | None:
    """What synthetic.json says; None without one, {} for one that cannot be read."""
    try:
        content = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _write_marker(folder: Path, content: dict) -> None:
    temporary = folder / f"{_MARKER}.part"
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, folder / _MARKER)


def _size_range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("..")
    return int(low), int(high or low)


def main(arguments: list[str] | None = None) -> int:
    """Command line: `python -m slowfast.datasets.synthetic DIR`; returns the exit code."""
    default = DatasetSettings()
    parser = argparse.ArgumentParser(
        prog="python -m slowfast.datasets.synthetic", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folder", help="where to write; new, empty, or written by this command before")
    parser.add_argument("--seed", type=int, default=default.seed)
    for split in SPLITS:
        parser.add_argument(f"--{split}-clips", type=int, default=default.clips(split), help="clips a class")
    parser.add_argument(
        "--size",
        type=_size_range,
        default=(default.min_size, default.max_size),
        metavar="MIN..MAX",
        help=f"range of the short side, {default.min_size}..{default.max_size}; multiples of {_BLOCK} are used",
    )
    parser.add_argument("--frames", type=int, default=default.frames, help="frames a clip")
    given = vars(parser.parse_args(arguments))
    folder, (given["min_size"], given["max_size"]) = given.pop("folder"), given.pop("size")
    try:
        settings = DatasetSettings(**given)
        written = write_dataset(folder, settings)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    clips = ", ".join(f"{len(CLASS_NAMES) * settings.clips(split)} {split}" for split in SPLITS)
    print(f"{folder}: {clips} clips {'written' if written else 'are there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
