"""The loader beside a plain one that does what the published code does, in turns, in one process.

The plain formulation opens and decodes the video anew for every view, turns every frame into RGB at full size, goes
through RandAugment frame by frame as Pillow images, and makes floats and normalises before it resizes and crops. Both
are given the same random numbers, so that they compute the same views; `compare` says how far the values lie apart. The
times are of the loader alone: ours ends in uint8 pixels, which the device normalises. "decode" is the time to decode
the video up to the last frame that is needed, once, and to convert none. Where no videos are given, made-up ones are:
10 seconds of 426x320 at 30 frames a second, H.264.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional

from slowfast.benchmarking.turns import cell, summary, take_turns
from slowfast.config import load_cfg
from slowfast.datasets import augment, rand_augment, sampling, transforms
from slowfast.datasets.build import build_dataset, build_device_stage
from slowfast.datasets.clip_geometry import FILL
from slowfast.datasets.clip_ops import Operation
from slowfast.datasets.loader import Batch, collate
from slowfast.datasets.pipeline import DeviceStage
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.datasets.video_writer import write_video
from slowfast.utils import seeds

# ----------------------------------------------------------------------------------------------------------
# RandAugment on Pillow images, as published
# ----------------------------------------------------------------------------------------------------------
GREY = (FILL, FILL, FILL)
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _affine(image: Image.Image, matrix: Sequence[float], how: str) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=_RESAMPLING[how], fillcolor=GREY
    )


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    keep = 256 - (1 << (8 - bits))
    return image.point([value & keep for value in range(256)] * 3)


def _solarize_add(image: Image.Image, add: int) -> Image.Image:
    return image.point([min(255, value + add) if value < 128 else value for value in range(256)] * 3)


# Image, argument, interpolation -> image.
PILLOW: dict[str, Callable[[Image.Image, float | None, str], Image.Image]] = {
    "AutoContrast": lambda image, _, __: ImageOps.autocontrast(image),
    "Equalize": lambda image, _, __: ImageOps.equalize(image),
    "Invert": lambda image, _, __: ImageOps.invert(image),
    "Rotate": lambda image, degrees, how: image.rotate(degrees, resample=_RESAMPLING[how], fillcolor=GREY),
    "Posterize": lambda image, bits, _: _posterize(image, bits),
    "Solarize": lambda image, threshold, _: ImageOps.solarize(image, threshold),
    "SolarizeAdd": lambda image, add, _: _solarize_add(image, add),
    "Color": lambda image, factor, _: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor, _: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor, _: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor, _: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, shear, how: _affine(image, (1, shear, 0, 0, 1, 0), how),
    "ShearY": lambda image, shear, how: _affine(image, (1, 0, 0, shear, 1, 0), how),
    "TranslateXRel": lambda image, part, how: _affine(image, (1, 0, part * image.width, 0, 1, 0), how),
    "TranslateYRel": lambda image, part, how: _affine(image, (1, 0, 0, 0, 1, part * image.height), how),
}


def augment_images(images: Sequence[Image.Image], operations: Sequence[Operation]) -> list[Image.Image]:
    """The operations on every image."""
    out = list(images)
    for name, argument, interpolation in operations:
        out = [PILLOW[name](image, argument, interpolation) for image in out]
    return out


# ----------------------------------------------------------------------------------------------------------
# The plain loader
# ----------------------------------------------------------------------------------------------------------
def plain_frames(path: str) -> np.ndarray:
    """Every frame, uint8 (frames, H, W, 3)."""
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def plain_views(dataset: VideoDataset, stage: DeviceStage, index: int) -> Iterator[Tensor]:
    """The test views of a video one by one, each float32 (3, T, S, S), normalised."""
    views, sampler = dataset.make_views, dataset.sampler
    for view in range(dataset.views_per_video):
        clip, crop = divmod(view, views.num_crops)
        frames = plain_frames(dataset.table.path(index))
        numbers = sampler(len(frames), None, np.random.default_rng(0))[clip]
        values = (torch.from_numpy(frames[numbers]).float() / 255 - torch.tensor(stage.mean)) / torch.tensor(
            stage.std
        )
        values = values.permute(3, 0, 1, 2)
        height, width = transforms.short_side_size(*values.shape[2:], views.scale)
        values = functional.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)
        position = sampling.crop_position(crop, views.num_crops)
        top, left, *_ = transforms.uniform_crop_box(height, width, views.crop_size, position)
        yield values[:, :, top : top + views.crop_size, left : left + views.crop_size].contiguous()


def plain_copies(dataset: VideoDataset, stage: DeviceStage, epoch: int, index: int) -> Iterator[Tensor]:
    """The augmented copies of a training clip one by one, each float32 (3, T, S, S), normalised, nothing erased."""
    frames = plain_frames(dataset.table.path(index))
    draw = seeds.numpy_generator(dataset.seed, "clip", epoch, index)
    clip = frames[dataset.sampler(len(frames), None, draw)[0]]
    for number in range(dataset.num_copies):
        rng = seeds.numpy_generator(dataset.seed, "views", epoch, index, number)
        yield _plain_copy(clip, dataset.make_views, stage, rng)


def _plain_copy(clip: np.ndarray, views, stage: DeviceStage, rng: np.random.Generator) -> Tensor:
    images = [Image.fromarray(frame) for frame in clip]
    images = augment_images(images, rand_augment.draw_rand_augment(views.policy, rng))
    values = torch.stack(
        [torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255) for image in images]
    )
    values = values.permute(0, 2, 3, 1)
    values = (values - torch.tensor(stage.mean)) / torch.tensor(stage.std)
    values = values.permute(3, 0, 1, 2)
    box = augment.draw_resized_crop_box(*values.shape[2:], views.area, views.aspect, rng)
    top, left, height, width = box
    values = values[:, :, top : top + height, left : left + width]
    size = (views.crop_size, views.crop_size)
    values = functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
    return values.flip(-1) if views.random_flip and augment.draw_flip(rng) else values


# ----------------------------------------------------------------------------------------------------------
# Beside ours
# ----------------------------------------------------------------------------------------------------------
def our_batch(dataset: VideoDataset, epoch: int, index: int) -> Batch:
    """What a loader worker does for a batch of one video."""
    return collate([dataset[epoch, index]])


def decode_alone(path: str, last: int) -> None:
    """Frames 0 to last, without converting any."""
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, _ in enumerate(container.decode(video=0)):
            if number == last:
                return


def last_frame(dataset: VideoDataset, epoch: int, index: int, num_frames: int) -> int:
    """The number of the last frame that the item needs."""
    rng = seeds.numpy_generator(dataset.seed, "clip", epoch, index)
    return int(dataset.sampler(num_frames, None, rng).max())


def compare(dataset: VideoDataset, stage: DeviceStage, training: bool, epoch: int, index: int) -> np.ndarray:
    """Distances between our values and the plain ones in grey levels, sorted; boxes to erase are left out."""
    batch = our_batch(dataset, epoch, index)
    ours = stage(batch.clips, batch.erase_boxes * 0, batch.noise_seeds)[batch.rows]
    plain = plain_copies(dataset, stage, epoch, index) if training else plain_views(dataset, stage, index)
    levels = 255 * torch.tensor(stage.std).view(3, 1, 1, 1)
    parts = [((a - b).abs() * levels).flatten() for a, b in zip(ours, plain, strict=True)]
    return np.sort(torch.cat(parts).numpy())


def measure(dataset: VideoDataset, stage: DeviceStage, split: str, rounds: int) -> dict[str, dict]:
    """One item a round, the videos and epochs one after the other; see `summary`."""
    lengths = [len(plain_frames(dataset.table.path(index))) for index in range(len(dataset))]

    def key(number: int) -> tuple[int, int]:
        return divmod(number, len(dataset))

    def plain(number: int) -> None:
        epoch, index = key(number)
        if split == "train":
            list(plain_copies(dataset, stage, epoch, index))
        else:
            list(plain_views(dataset, stage, index))

    def decode(number: int) -> None:
        epoch, index = key(number)
        decode_alone(dataset.table.path(index), last_frame(dataset, epoch, index, lengths[index]))

    ways = {"plain": plain, "ours": lambda number: our_batch(dataset, *key(number)), "decode": decode}
    return summary(take_turns(ways, rounds))


def table(results: dict[str, dict[str, dict]]) -> str:
    """Lines for people: milliseconds an item, median and quartiles."""
    lines = [
        "| what | plain ms | ours ms | times faster | decode ms | ours / decode |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, ways in results.items():
        cells = {way: cell(numbers) for way, numbers in ways.items()}
        over = ways["ours"]["median_ms"] / ways["decode"]["median_ms"]
        faster = ways["ours"]["times_faster"]
        lines.append(
            f"| {name} | {cells['plain']} | {cells['ours']} | {faster:.1f} | {cells['decode']} | {over:.2f} |"
        )
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------------
# Videos and data sets
# ----------------------------------------------------------------------------------------------------------
def made_up_frames(num_frames: int, height: int, width: int, seed: int) -> Iterator[np.ndarray]:
    """A camera moving over a texture with the spectrum of photographs, four discs in front of it, and noise."""
    rng = np.random.default_rng(seed)
    margin = 160
    sides = height + margin, width + margin
    distance = np.hypot(np.fft.fftfreq(sides[0])[:, None], np.fft.fftfreq(sides[1])[None])
    distance[0, 0] = 1.0
    noise = np.fft.fft2(rng.standard_normal((3, *sides))) / distance**1.1
    texture = np.fft.ifft2(noise).real.transpose(1, 2, 0)
    texture = 120 + 50 * (0.6 * texture.mean(axis=2, keepdims=True) + 0.4 * texture) / texture.std()
    y, x = np.mgrid[:height, :width]
    phases, colours = rng.uniform(0, 6.28, (4, 2)), rng.uniform(0, 255, (4, 3))
    for t in range(num_frames):
        top, left = (int(margin / 2 * (1 + np.sin(t / period))) for period in (41, 60))
        frame = texture[top : top + height, left : left + width].copy()
        for number, (phase, colour) in enumerate(zip(phases, colours, strict=True)):
            row = height * (0.5 + 0.4 * np.sin(t / (17 + 5 * number) + phase[0]))
            column = width * (0.5 + 0.4 * np.sin(t / (20 + 7 * number) + phase[1]))
            disc = (y - row) ** 2 + (x - column) ** 2 < (height / 10 + 8 * number) ** 2
            frame[disc] = 0.3 * frame[disc] + 0.7 * colour
        frame += 3 * rng.standard_normal((height, width, 1))
        yield np.clip(frame, 0, 255).astype(np.uint8)


def write_videos(
    folder: Path, count: int = 4, num_frames: int = 300, height: int = 320, width: int = 426
) -> list[Path]:
    """Made-up videos at 30 frames a second, encoded as x264 does by default."""
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for seed, path in enumerate(paths):
        write_video(path, made_up_frames(num_frames, height, width, seed), 30)
    return paths


def open_dataset(
    videos: Sequence[Path], folder: Path, recipe: Path, split: str, changes: Sequence[str] = ()
) -> tuple[VideoDataset, DeviceStage]:
    """The data set of a recipe, its list in `folder` made of the videos; and what the device does to its views."""
    (folder / f"{split}.csv").write_text("".join(f"{path.resolve()},0\n" for path in videos), "utf-8")
    options = ["DATA.PATH_TO_DATA_DIR", str(folder), "DATA.PATH_PREFIX", "", "NUM_GPUS", "0"]
    cfg = load_cfg(recipe, [*options, "DATA.PATH_LABEL_SEPARATOR", ",", *changes])
    return build_dataset(cfg, split), build_device_stage(cfg)


def run(
    split: str,
    videos: Sequence[Path],
    folder: Path,
    recipe: Path,
    views: Sequence[str],
    rounds: int,
    opts: Sequence[str] = (),
) -> dict[str, dict[str, dict]]:
    """Name of what was measured -> way -> numbers; see `summary`."""
    cases: dict[str, list[str]] = {f"train, {recipe.stem}": []}
    if split == "test":
        cases = {f"test, {name} views": protocol(name) for name in views}
    return {
        name: measure(*open_dataset(videos, folder, recipe, split, [*changes, *opts]), split, rounds)
        for name, changes in cases.items()
    }


def protocol(views: str) -> list[str]:
    """5x3 -> the keys of the config for a test of 5 clips x 3 crops."""
    clips, crops = views.split("x")
    return ["TEST.NUM_ENSEMBLE_VIEWS", clips, "TEST.NUM_SPATIAL_CROPS", crops]
