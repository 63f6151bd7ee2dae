"""From the config to data: the only module of this package that reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from fvcore.common.registry import Registry

from slowfast.datasets import annotations, rand_augment, sampling, shards, shared_memory
from slowfast.datasets.checking.listing import Listing
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_cache import FrameCache
from slowfast.datasets.loader import VideoLoader, Workers
from slowfast.datasets.orders import EvalOrder, TrainOrder, eval_group_size
from slowfast.datasets.pipeline import DeviceStage, EvalViews, TrainViews, empty_views
from slowfast.datasets.video_dataset import FrameFolders, ShardFiles, VideoDataset, VideoFiles
from slowfast.datasets.video_views import VideoViews
from slowfast.utils import distributed, environment

SPLITS = ("train", "val", "test")

DATASET_REGISTRY = Registry("DATASET")
DATASET_REGISTRY.__doc__ = """
Data sets by the names that TRAIN.DATASET and TEST.DATASET take. An entry is called with (cfg, split), split one of
train, val, test, and returns a data set as slowfast.datasets.video_dataset describes it.
"""


def build_dataset(cfg, split: str):
    """The data set that the config names for a split: TRAIN.DATASET for train and val, TEST.DATASET for test."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    name = cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET
    known = sorted(key for key, _ in DATASET_REGISTRY)
    for key in (name, name.capitalize()):  # PySlowFast looks names up capitalised
        if key in DATASET_REGISTRY:
            return DATASET_REGISTRY.get(key)(cfg, split)
    raise ValueError(f"unknown data set {name!r} for the {split} split; known: {', '.join(known)}")


def build_loader(cfg, split: str) -> VideoLoader:
    """The loader of a split for this process, with workers of its own; see `build_loaders`."""
    return build_loaders(cfg, (split,))[0]


def build_loaders(cfg, splits: Sequence[str]) -> list[VideoLoader]:
    """Loaders of several splits for this process, which share their workers: one is read at a time.

    TRAIN.BATCH_SIZE counts videos and TEST.BATCH_SIZE views, both per shard, shared by its NUM_GPUS processes.
    Validation and test read the list in order; see slowfast.datasets.loader for who reads what. Raises ValueError
    where the machine has too little shared memory for what workers prepare ahead.
    """
    datasets = [build_dataset(cfg, split) for split in splits]
    processes = distributed.processes_on_this_host()
    num_workers = environment.cap_workers(cfg.DATA_LOADER.NUM_WORKERS, processes)
    shared_memory.check(
        max(_batch_bytes(cfg, split, dataset) for split, dataset in zip(splits, datasets, strict=True)),
        num_workers=num_workers,
        prefetch_factor=cfg.DATA_LOADER.PREFETCH_FACTOR,
        passes=cfg.TRAIN.ACCUMULATION_STEPS if "train" in splits else 1,
        processes_on_host=processes,
    )
    workers = Workers(
        datasets,
        num_workers=num_workers,
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and cfg.NUM_GPUS > 0,
        persistent="train" in splits,
        prefetch_factor=cfg.DATA_LOADER.PREFETCH_FACTOR,
        start_method=cfg.DATA_LOADER.START_METHOD,
        deadline_seconds=cfg.DATA_LOADER.DEADLINE_SECONDS,
    )
    return [
        VideoLoader(dataset, _order(cfg, split, dataset), workers, which)
        for which, (split, dataset) in enumerate(zip(splits, datasets, strict=True))
    ]


def _batch_bytes(cfg, split: str, dataset) -> int:
    """Pixels of the largest batch of a split, for one process."""
    if split == "train":
        side = cfg.DATA.TRAIN_CROP_SIZE
        clips = cfg.TRAIN.BATCH_SIZE // max(1, cfg.NUM_GPUS) * dataset.views_per_video
    else:
        side = cfg.DATA.TEST_CROP_SIZE
        clips = eval_group_size(views_per_batch(cfg), dataset.views_per_video) * dataset.views_per_video
    return clips * cfg.DATA.NUM_FRAMES * side * side * 3


def _order(cfg, split: str, dataset) -> TrainOrder | EvalOrder:
    rank, world_size = distributed.rank(), distributed.world_size()
    if split != "train":
        group = eval_group_size(views_per_batch(cfg), dataset.views_per_video)
        return EvalOrder(len(dataset), group, rank=rank, world_size=world_size)
    return TrainOrder(
        len(dataset),
        videos_per_step(cfg),
        cfg.RNG_SEED,
        rank=rank,
        world_size=world_size,
        passes=cfg.TRAIN.ACCUMULATION_STEPS,
        classes=_labels(dataset) if cfg.DATA.SAMPLER == "balanced" else None,
    )


def class_counts(cfg, dataset) -> np.ndarray:
    """Training videos of each class, int64 (K,)."""
    return np.bincount(_labels(dataset), minlength=cfg.MODEL.NUM_CLASSES)


def _labels(dataset) -> np.ndarray:
    return np.fromiter((dataset.label(index) for index in range(len(dataset))), np.int64, len(dataset))


def videos_per_step(cfg) -> int:
    """Videos of one optimizer step, over all processes and accumulated passes."""
    return cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS * cfg.TRAIN.ACCUMULATION_STEPS


def views_per_batch(cfg) -> int:
    """Views that one process scores at a time: its share of TEST.BATCH_SIZE."""
    return cfg.TEST.BATCH_SIZE // max(1, cfg.NUM_GPUS)


def build_video_views(cfg) -> VideoViews:
    """What a test makes of a video; for one that is in no list. Raises ValueError for a foreign TEST.DATASET."""
    name = cfg.TEST.DATASET
    if name not in KINDS:
        raise ValueError(
            f"TEST.DATASET {name} is no data set of this package ({', '.join(KINDS)}), so what it makes of a video is "
            "not known here"
        )
    num_clips, num_crops = _view_counts(cfg, "test")
    sampler = replace(_clip_sampler(cfg, "test", KINDS[name], num_clips), other_counts=())
    threads = 0 if cfg.DATA_LOADER.ENABLE_MULTI_THREAD_DECODE else 1
    return VideoViews(sampler, _eval_views(cfg, num_crops), cfg.DATA.CACHE_SHORT_SIDE, threads)


def build_device_stage(cfg) -> DeviceStage:
    """Normalising, erasing and channel order, which run on the device."""
    return DeviceStage(
        tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD), cfg.DATA.REVERSE_INPUT_CHANNEL, erase_mode=cfg.AUG.RE_MODE
    )


def preprocessing(cfg) -> dict:
    """What a deployed model must do to a video, as plain values; stored in every checkpoint."""
    data = cfg.DATA
    return {
        "num_frames": data.NUM_FRAMES,
        "sampling_rate": data.SAMPLING_RATE,
        "sampling_unit": data.SAMPLING_UNIT,
        "target_fps": data.TARGET_FPS,
        "test_dataset": cfg.TEST.DATASET,
        "use_offset_sampling": data.USE_OFFSET_SAMPLING,
        "test_scale": data.TEST_SCALE or data.TEST_CROP_SIZE,
        "test_crop_size": data.TEST_CROP_SIZE,
        "test_whole_frame": data.TEST_WHOLE_FRAME,
        "cache_short_side": data.CACHE_SHORT_SIDE,
        "antialias": data.ANTIALIAS,
        "mean": list(data.MEAN),
        "std": list(data.STD),
        "channel_order": "BGR" if data.REVERSE_INPUT_CHANNEL else "RGB",
        "num_ensemble_views": cfg.TEST.NUM_ENSEMBLE_VIEWS,
        "num_spatial_crops": cfg.TEST.NUM_SPATIAL_CROPS,
    }


@dataclass(frozen=True)
class Kind:
    """What a data set of this package is made of.

    ``rule`` is a rule of ClipSampler. ``media`` is files, folders (of frames), or found (out from the list).
    ``template_words`` fill DATA.LABEL_PATH_TEMPLATE for train, val and test; () if lists have fixed names alone.
    ``has_splits``: there are three of all lists, in folders split1, split2, split3; DATA.SPLIT says which.
    """

    rule: str
    media: str = "files"
    template_words: tuple[str, ...] = ()
    has_splits: bool = False


_SOMETHING = ("train", "validation", "validation")
_HMDB = ("train", "val", "val")
KINDS = {
    "kinetics": Kind("dense"),
    "kinetics_sparse": Kind("segments"),
    "sth": Kind("segments", "folders", _SOMETHING),
    "ssv1": Kind("segments", "folders", _SOMETHING),
    "ssv2": Kind("segments", "found", _SOMETHING),
    "ucf101": Kind("dense", has_splits=True),
    "hmdb": Kind("dense", "found", _HMDB, has_splits=True),
    "hmdb51": Kind("dense", "found", _HMDB, has_splits=True),
}


def _listed_videos(cfg, split: str, name: str) -> VideoDataset:
    """One of the data sets of KINDS."""
    data, training, kind = cfg.DATA, split == "train", KINDS[name]
    path = _find_list(cfg, split, kind)
    table = _read_list(cfg, path, name)
    num_clips, num_crops = _view_counts(cfg, split)
    num_copies = cfg.AUG.NUM_SAMPLE if training else 1
    crop_size = data.TRAIN_CROP_SIZE if training else data.TEST_CROP_SIZE
    return VideoDataset(
        table=table,
        sampler=_clip_sampler(cfg, split, kind, num_clips),
        make_views=_train_views(cfg) if training else _eval_views(cfg, num_crops),
        views_per_video=num_copies if training else num_clips * num_crops,
        empty_views=empty_views(data.NUM_FRAMES, crop_size),
        seed=cfg.RNG_SEED,
        num_copies=num_copies,
        replace_unreadable=training,
        open_media=_open_media(cfg, table, kind),
        num_classes=cfg.MODEL.NUM_CLASSES,
        multi_label=data.MULTI_LABEL,
        class_names=_class_names(cfg, os.path.dirname(path)),
    )


def _clip_sampler(cfg, split: str, kind: Kind, num_clips: int | None) -> ClipSampler:
    data = cfg.DATA
    return ClipSampler(
        num_frames=data.NUM_FRAMES,
        sampling_rate=data.SAMPLING_RATE,
        num_clips=num_clips,
        rule=kind.rule,
        use_offset=data.USE_OFFSET_SAMPLING or split == "val",
        unit=data.SAMPLING_UNIT,
        target_fps=data.TARGET_FPS,
        jitter_fps=data.TRAIN_JITTER_FPS,
        stretch=data.SPARSE_STRETCH,
        frame_order=data.FRAME_ORDER,
        other_counts=clip_counts(cfg)[1:] if split == "test" else (),
    )


def build_listing(cfg, path: str) -> Listing:
    """What is to be checked of any list that the data set of TRAIN.DATASET can read; clips are those of validation.

    Raises ValueError for a data set that is registered from outside, and what reading the list raises.
    """
    name = cfg.TRAIN.DATASET
    if name not in KINDS:
        raise ValueError(
            f"TRAIN.DATASET {name} is no data set of this package ({', '.join(KINDS)}), so its lists are not known "
            "here: check the list without a recipe"
        )
    table = _read_list(cfg, path, name)
    return Listing(
        table=table,
        clips=_clip_sampler(cfg, "val", KINDS[name], 1),
        open_media=_open_as_they_are(cfg, table, KINDS[name]),
        class_names=_class_names(cfg, os.path.dirname(path)),
    )


def _find_list(cfg, split: str, kind: Kind) -> str:
    """Where the list of a split is, of the names and folders that a data set of this kind may use.

    All lists come from one folder: that of the data, or of DATA.SPLIT below it where the first has none at all.
    Raises ValueError for a folder that is named as another split than DATA.SPLIT.
    """
    folder = cfg.DATA.PATH_TO_DATA_DIR
    named = os.path.basename(os.path.abspath(folder))
    if kind.has_splits and named in ("split1", "split2", "split3") and named != f"split{cfg.DATA.SPLIT}":
        raise ValueError(
            f"DATA.PATH_TO_DATA_DIR {folder} is named {named}, but DATA.SPLIT is {cfg.DATA.SPLIT}: write DATA.SPLIT "
            f"{named[-1]}, or give the folder above and let DATA.SPLIT choose"
        )
    if kind.has_splits and not any(
        os.path.exists(path) for any_split in SPLITS for path in _list_paths(cfg, any_split, kind, folder)
    ):
        folder = os.path.join(folder, f"split{cfg.DATA.SPLIT}")
    paths = _list_paths(cfg, split, kind, folder)
    found = next((path for path in paths if os.path.exists(path)), None)
    if found is None:
        raise FileNotFoundError(
            f"{' or '.join(paths)}: no such file (video list for {split}); DATA.PATH_TO_DATA_DIR says where lists lie"
            + (", DATA.LABEL_PATH_TEMPLATE what they are called" if kind.template_words else "")
        )
    return found


def _list_paths(cfg, split: str, kind: Kind, folder: str) -> list[str]:
    if split == "test" and cfg.TEST.LIST:
        return [os.path.join(folder, cfg.TEST.LIST)]
    names = [f"{split}.csv"]
    if kind.template_words:
        names.insert(0, cfg.DATA.LABEL_PATH_TEMPLATE.format(kind.template_words[SPLITS.index(split)]))
    return [os.path.join(folder, name) for name in names]


def _read_list(cfg, path: str, name: str) -> annotations.VideoTable:
    """A list in the format of its data set; of the other format, a ValueError that says so."""
    data, media = cfg.DATA, KINDS[name].media
    folders = media == "folders" or annotations.lists_frame_folders(path)
    if folders and media == "files":
        raise ValueError(
            f"{path}: a list of frame folders (folder, number of frames, label), but {name} reads video files: "
            "write ssv1, ssv2 or hmdb51 in TRAIN.DATASET and TEST.DATASET, or give a list of video files"
        )
    return annotations.read_list(
        path,
        separator=data.PATH_LABEL_SEPARATOR if media == "files" else "",
        num_classes=cfg.MODEL.NUM_CLASSES,
        multi_label=data.MULTI_LABEL,
        prefix=data.PATH_PREFIX,
        frame_folders=folders,
    )


def _open_media(
    cfg, table: annotations.VideoTable, kind: Kind
) -> VideoFiles | ShardFiles | FrameFolders | FrameCache:
    open_media = _open_as_they_are(cfg, table, kind)
    if not cfg.DATA.CACHE_SHORT_SIDE:
        return open_media
    return FrameCache(open_media, cfg.DATA.CACHE_SHORT_SIDE, int(cfg.DATA.CACHE_GB * 2**30))


def _open_as_they_are(
    cfg, table: annotations.VideoTable, kind: Kind
) -> VideoFiles | ShardFiles | FrameFolders:
    in_shards = shards.names_shards(cfg.DATA.PATH_PREFIX)
    if table.frame_counts is None:
        threads = 0 if cfg.DATA_LOADER.ENABLE_MULTI_THREAD_DECODE else 1
        return ShardFiles(_shard_index(cfg), threads) if in_shards else VideoFiles(threads)
    if in_shards:
        raise ValueError(
            f"{table.source}: a list of frame folders, but DATA.PATH_PREFIX {cfg.DATA.PATH_PREFIX} names tar shards, "
            "from which video files alone are read: unpack them and write the folder, or list video files"
        )
    if kind.rule == "dense" and cfg.DATA.SAMPLING_UNIT == "seconds":
        raise ValueError(
            "DATA.SAMPLING_UNIT seconds needs a frame rate, which frame folders do not have: write frames"
        )
    return FrameFolders(cfg.DATA.IMAGE_TEMPLATE)


def _shard_index(cfg) -> shards.ShardIndex:
    """The index of the shards; rank 0 makes it if need be, and what stops it there stops all."""
    index, failure = None, None
    if distributed.is_main():
        try:
            index = shards.open_index(cfg.DATA.PATH_PREFIX, cfg.OUTPUT_DIR)
        except (ValueError, OSError) as error:
            failure = error
    failure = distributed.broadcast_object(failure)
    if failure is not None:
        raise failure
    return index or shards.open_index(cfg.DATA.PATH_PREFIX, cfg.OUTPUT_DIR)


def clip_counts(cfg) -> tuple[int, ...]:
    """Every number of clips that one test serves, TEST.NUM_ENSEMBLE_VIEWS first."""
    return sampling.clip_counts(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_TEMPORAL_CLIPS)


def _view_counts(cfg, split: str) -> tuple[int | None, int]:
    """(clips, crops) of one video; clips None means one at random."""
    if split == "train":
        return None, 1
    if split == "val":
        return 1, 1
    return cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS


def _train_views(cfg) -> TrainViews:
    data, aug = cfg.DATA, cfg.AUG
    relative = data.TRAIN_JITTER_SCALES_RELATIVE
    return TrainViews(
        crop_size=data.TRAIN_CROP_SIZE,
        policy=rand_augment.parse_policy(aug.AA_TYPE, aug.INTERPOLATION)
        if aug.ENABLE and aug.AA_TYPE
        else None,
        area=tuple(relative) if relative else None,
        aspect=tuple(data.TRAIN_JITTER_ASPECT_RELATIVE) if relative else None,
        motion_shift=data.TRAIN_JITTER_MOTION_SHIFT,
        jitter=tuple(data.TRAIN_JITTER_SCALES),
        inverse_jitter=data.INV_UNIFORM_SAMPLE,
        colour_strengths=tuple(data.SSL_COLOR_BRI_CON_SAT) if data.SSL_COLOR_JITTER else None,
        random_flip=data.RANDOM_FLIP,
        antialias=data.ANTIALIAS,
        fused=aug.FUSED,
        erase_probability=aug.RE_PROB if aug.ENABLE else 0.0,
        erase_count=aug.RE_COUNT,
    )


def _eval_views(cfg, num_crops: int) -> EvalViews:
    data = cfg.DATA
    return EvalViews(
        data.TEST_SCALE or data.TEST_CROP_SIZE,
        data.TEST_CROP_SIZE,
        num_crops,
        whole_frame=data.TEST_WHOLE_FRAME,
        antialias=data.ANTIALIAS,
    )


def _class_names(cfg, list_dir: str) -> list[str] | None:
    """From the named file, else beside the list, else in the folder of all lists."""
    for folder in dict.fromkeys((list_dir, cfg.DATA.PATH_TO_DATA_DIR)):
        names = annotations.find_class_names(folder, cfg.DATA.CLASS_NAMES_PATH)
        if names is not None:
            annotations.check_class_names(names, cfg.MODEL.NUM_CLASSES)
            return names
    return None


for _name in KINDS:
    DATASET_REGISTRY._do_register(_name, partial(_listed_videos, name=_name))
