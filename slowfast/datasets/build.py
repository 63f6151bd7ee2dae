"""From the config to data: the only module of this package that reads it."""

from __future__ import annotations

import os
from functools import partial

from fvcore.common.registry import Registry

from slowfast.datasets import annotations, rand_augment
from slowfast.datasets.loader import EvalOrder, TrainOrder, VideoLoader, eval_group_size
from slowfast.datasets.pipeline import DeviceStage, EvalViews, TrainViews, empty_views
from slowfast.datasets.video_dataset import ClipSampler, VideoDataset
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
    """The loader of a split for this process.

    TRAIN.BATCH_SIZE counts videos and TEST.BATCH_SIZE views, both per shard, shared by its NUM_GPUS processes.
    Validation and test read the list in order; see slowfast.datasets.loader for who reads what.
    """
    dataset = build_dataset(cfg, split)
    rank, world_size = distributed.rank(), distributed.world_size()
    if split == "train":
        order = TrainOrder(
            len(dataset),
            cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS,
            cfg.RNG_SEED,
            rank=rank,
            world_size=world_size,
        )
    else:
        group = eval_group_size(views_per_batch(cfg), dataset.views_per_video)
        order = EvalOrder(len(dataset), group, rank=rank, world_size=world_size)
    return VideoLoader(
        dataset,
        order,
        num_workers=environment.cap_workers(
            cfg.DATA_LOADER.NUM_WORKERS, distributed.processes_on_this_host()
        ),
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and cfg.NUM_GPUS > 0,
        persistent=split == "train",
        prefetch_factor=cfg.DATA_LOADER.PREFETCH_FACTOR,
        start_method=cfg.DATA_LOADER.START_METHOD,
    )


def views_per_batch(cfg) -> int:
    """Views that one process scores at a time: its share of TEST.BATCH_SIZE."""
    return cfg.TEST.BATCH_SIZE // max(1, cfg.NUM_GPUS)


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
        "antialias": data.ANTIALIAS,
        "mean": list(data.MEAN),
        "std": list(data.STD),
        "channel_order": "BGR" if data.REVERSE_INPUT_CHANNEL else "RGB",
        "num_ensemble_views": cfg.TEST.NUM_ENSEMBLE_VIEWS,
        "num_spatial_crops": cfg.TEST.NUM_SPATIAL_CROPS,
    }


def _video_files(cfg, split: str, rule: str) -> VideoDataset:
    """Video files listed in {train,val,test}.csv under DATA.PATH_TO_DATA_DIR."""
    data, training = cfg.DATA, split == "train"
    folder = data.PATH_TO_DATA_DIR
    table = annotations.read_list(
        os.path.join(folder, f"{split}.csv"),
        separator=data.PATH_LABEL_SEPARATOR,
        num_classes=cfg.MODEL.NUM_CLASSES,
        multi_label=data.MULTI_LABEL,
        prefix=data.PATH_PREFIX,
    )
    num_clips, num_crops = _view_counts(cfg, split)
    num_copies = cfg.AUG.NUM_SAMPLE if training else 1
    crop_size = data.TRAIN_CROP_SIZE if training else data.TEST_CROP_SIZE
    return VideoDataset(
        table=table,
        sampler=ClipSampler(
            num_frames=data.NUM_FRAMES,
            sampling_rate=data.SAMPLING_RATE,
            num_clips=num_clips,
            rule=rule,
            use_offset=data.USE_OFFSET_SAMPLING or split == "val",
            unit=data.SAMPLING_UNIT,
            target_fps=data.TARGET_FPS,
            frame_order=data.FRAME_ORDER,
        ),
        make_views=_train_views(cfg) if training else _eval_views(cfg, num_crops),
        views_per_video=num_copies if training else num_clips * num_crops,
        empty_views=empty_views(data.NUM_FRAMES, crop_size),
        seed=cfg.RNG_SEED,
        num_copies=num_copies,
        replace_unreadable=training,
        decode_threads=0 if cfg.DATA_LOADER.ENABLE_MULTI_THREAD_DECODE else 1,
        num_classes=cfg.MODEL.NUM_CLASSES,
        multi_label=data.MULTI_LABEL,
        class_names=_class_names(cfg),
    )


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


def _class_names(cfg) -> list[str] | None:
    names = annotations.find_class_names(cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.CLASS_NAMES_PATH)
    if names is not None:
        annotations.check_class_names(names, cfg.MODEL.NUM_CLASSES)
    return names


DATASET_REGISTRY._do_register("kinetics", partial(_video_files, rule="dense"))
DATASET_REGISTRY._do_register("kinetics_sparse", partial(_video_files, rule="segments"))
