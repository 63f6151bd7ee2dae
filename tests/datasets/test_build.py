"""From the names of data sets to what they read: lists, formats, files or folders of frames, clips."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slowfast.config import get_cfg
from slowfast.datasets import shards
from slowfast.datasets.build import KINDS, build_dataset, build_device_stage
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.video_dataset import FrameFolders, ShardFiles, VideoFiles
from slowfast.utils import distributed

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sampling.json").read_text())
HEIGHT, WIDTH = 32, 44
WORDS = {"sth": ("train", "validation"), "ssv1": ("train", "validation"), "ssv2": ("train", "validation"),
         "hmdb": ("train", "val"), "hmdb51": ("train", "val")}  # fmt: skip


def config(name, folder, **keys):
    cfg = get_cfg()
    pairs = {
        "TRAIN.DATASET": name, "TEST.DATASET": name, "DATA.PATH_TO_DATA_DIR": folder, "DATA.PATH_PREFIX": folder,
        "MODEL.NUM_CLASSES": 3, "DATA.TEST_CROP_SIZE": 32, "DATA.TRAIN_CROP_SIZE": 32, "DATA.NUM_FRAMES": 8,
        "DATA.SAMPLING_RATE": 4, "DATA.USE_OFFSET_SAMPLING": True, "DATA.IMAGE_TEMPLATE": "img_{:05d}.png",
        "DATA.LABEL_PATH_TEMPLATE": "list_{}.txt", "DATA.TRAIN_JITTER_SCALES": [32, 40],
        "TEST.NUM_ENSEMBLE_VIEWS": 1, "NUM_GPUS": 0, **{key.replace("__", "."): value for key, value in keys.items()},
    }  # fmt: skip
    cfg.merge_from_list([word for key, value in pairs.items() for word in (key, str(value))])
    return cfg.resolved()[0]


def published_pixels(number):
    """Frame `number`, counted from 0, of the reference's made-up videos, in the order its reader keeps: B, G, R."""
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    return ((7 * number + 3 * y + 5 * x + 11 * c + (number * y * x) % 13) % 256).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The three videos of the reference's frame-folder data sets, and lists under every name."""
    root = tmp_path_factory.mktemp("frames")
    lines = []
    for label, num_frames in enumerate(GOLDEN["sth_dataset_test"]["video_frames"]):
        folder = root / "videos" / f"video {label}"
        folder.mkdir(parents=True)
        for number in range(num_frames):
            image = Image.fromarray(published_pixels(number)[..., ::-1].copy())
            image.save(folder / f"img_{number + 1:05d}.png", compress_level=1)
        lines.append(f"videos/video {label} {num_frames} {label}\n")
    for word in ("train", "val", "validation"):
        (root / f"list_{word}.txt").write_text("".join(lines))
    return root


# Whole published data sets -----
@pytest.mark.parametrize("case", ["sth_dataset_test", "hmdb_dataset_test"])
def test_whole_published_test_sets_from_folders(folders, case):
    """Same frames, crops and pixels. Published code feeds B, G, R, which REVERSE_INPUT_CHANNEL True gives here; with
    False, our default, the channels come the other way round."""
    golden = GOLDEN[case]
    crops, clips = golden["NUM_SPATIAL_CROPS"], golden["NUM_ENSEMBLE_VIEWS"]
    for reverse in (True, False):
        cfg = config(
            case.split("_")[0], folders, TEST__NUM_ENSEMBLE_VIEWS=clips, TEST__NUM_SPATIAL_CROPS=crops,
            DATA__REVERSE_INPUT_CHANNEL=reverse,
        )  # fmt: skip
        dataset, prepare = build_dataset(cfg, "test"), build_device_stage(cfg)
        assert len(dataset) * dataset.views_per_video == golden["length"]
        for item in golden["items"]:
            video, view = divmod(item["item"], clips * crops)
            views = dataset[0, video].views
            assert dataset.label(video) == item["label"]
            made = prepare(views.clips, views.erase_boxes, views.noise_seeds)[views.rows[view]]
            flat = (made if reverse else made.flip(0)).reshape(-1).double()
            expected = item["output"]
            assert list(made.shape) == expected["shape"]
            assert flat[:4].tolist() == pytest.approx(expected["first"], abs=1e-5)
            assert flat[-4:].tolist() == pytest.approx(expected["last"], abs=1e-5)
            assert flat.sum().item() == pytest.approx(expected["sum"], abs=1e-5 * len(flat))
            wave = torch.cos(torch.arange(len(flat), dtype=torch.float64))
            assert (flat * wave).sum().item() == pytest.approx(
                expected["cos_weighted_sum"], abs=1e-5 * len(flat)
            )


def test_channels_of_an_image_file(tmp_path):
    """Published: (50, 100, 200) of a file that is (200, 100, 50) in R, G, B. Ours: as the file, reversed on demand."""
    golden = GOLDEN["image_files"]
    Image.new("RGB", (44, 32), tuple(golden["rgb_of_file"])).save(tmp_path / "img_00001.png")
    (tmp_path / "list_validation.txt").write_text(f"{tmp_path} 1 0\n")
    pixels = {}
    for reverse in (False, True):
        cfg = config(
            "sth", tmp_path, DATA__REVERSE_INPUT_CHANNEL=reverse, DATA__MEAN=[0, 0, 0], DATA__STD=[1, 1, 1]
        )
        views = build_dataset(cfg, "test")[0, 0].views
        made = build_device_stage(cfg)(views.clips, views.erase_boxes, views.noise_seeds)
        pixels[reverse] = (255 * made[0, :, 0, 0, 0]).round().tolist()
    assert pixels == {False: golden["rgb_of_file"], True: golden["pixel_read"]}


@pytest.mark.parametrize("name", ["sth", "hmdb"])
def test_a_single_crop_is_the_centre_one(folders, name):
    """Published: with one crop the left or top one. Ours: the second of three."""
    three = build_dataset(config(name, folders, TEST__NUM_SPATIAL_CROPS=3), "test")[0, 1].views.clips
    one = build_dataset(config(name, folders, TEST__NUM_SPATIAL_CROPS=1), "test")[0, 1].views.clips
    assert [torch.equal(one[0], clip) for clip in three] == [False, True, False]


@pytest.mark.parametrize("name", ["sth", "ssv2", "hmdb51"])
def test_validation_is_one_centre_view_whatever_the_test_keys_say(folders, name):
    """Published: hmdb validates on the first clip, left crop; sth on random crops and on frames that
    TEST.NUM_ENSEMBLE_VIEWS moves. Ours: the view of a test with 1 clip and 1 crop, always the same."""
    keys = [
        {},
        {"TEST__NUM_ENSEMBLE_VIEWS": 5, "TEST__NUM_SPATIAL_CROPS": 3, "DATA__USE_OFFSET_SAMPLING": False},
        {"TEST__NUM_TEMPORAL_CLIPS": [1, 2]},
    ]
    sets = [build_dataset(config(name, folders, **change), "val") for change in keys]
    for video in range(3):
        first, *others = [dataset[epoch, video].views.clips for epoch, dataset in enumerate(sets)]
        assert len(first) == 1 and all(torch.equal(first, other) for other in others)
        single = config(name, folders, TEST__NUM_SPATIAL_CROPS=1)
        assert torch.equal(first, build_dataset(single, "test")[0, video].views.clips)


def test_fused_training_clips_are_those_of_the_steps_within_a_grey_level(folders):
    """Without RandAugment: the same resized frame, of which the crop alone is computed."""
    steps, fused = (
        build_dataset(config("ssv1", folders, AUG__FUSED=fused), "train")[0, 1].views.clips
        for fused in (False, True)
    )
    assert (steps.int() - fused.int()).abs().max() == 1  # not 0: it was another way


def test_training_on_folders_draws_by_segment_or_by_clip(folders):
    for name, rule in (("ssv1", "segments"), ("hmdb51", "dense")):
        dataset = build_dataset(config(name, folders), "train")
        assert dataset.sampler.rule == rule and dataset.sampler.num_clips is None
        one, same, later = dataset[0, 2], dataset[0, 2], dataset[1, 2]
        assert torch.equal(one.views.clips, same.views.clips)
        assert not torch.equal(one.views.clips, later.views.clips)


def test_hmdb_validates_on_the_centre_clip():
    """Published: the first of TEST.NUM_ENSEMBLE_VIEWS clips. Ours: the one in the middle."""
    published = [0, 4, 8, 13, 17, 22, 26, 31]
    golden = GOLDEN["hmdb_dataset_test"]["items"][
        12
    ]  # the first clip of the third video, which has 90 frames
    assert [number - 1 for number in golden["frame_indices"]] == published
    ours = [29, 33, 37, 42, 46, 51, 55, 60]
    sampler = ClipSampler(num_frames=8, sampling_rate=4, num_clips=1, use_offset=True)
    assert sampler(90, None, np.random.default_rng(0)).tolist() == [ours]


@pytest.mark.parametrize("num_clips", [1, 3])
def test_video_files_and_folders_of_their_frames_give_the_same_frames(
    tmp_path, numbered, numbered_picture, read_numbers, num_clips
):
    """Something-Something V2 needs no extraction: segments of the decoded frames are those of the folder."""
    (tmp_path / "7.webm").write_bytes(numbered("webm", "libvpx-vp9", 37))
    (tmp_path / "7").mkdir()
    for number in range(37):
        Image.fromarray(numbered_picture(number)).save(tmp_path / "7" / f"img_{number + 1:05d}.png")
    seen = {}
    for media, line in (("file", "7.webm 0"), ("folder", "7 37 0")):
        (tmp_path / "test.csv").write_text(f"{line}\n")
        dataset = build_dataset(config("ssv2", tmp_path, TEST__NUM_ENSEMBLE_VIEWS=num_clips), "test")
        with dataset.open_media(dataset.table, 0) as reader:
            indices = dataset.sampler(reader.num_frames, reader.fps, np.random.default_rng(0))
            seen[media] = read_numbers(reader.read(indices.ravel()))
    # Segments of 4.5 frames begin at 0, 4.5, 9, 13.5, ..., rounded to even; their middle is 2 further on.
    middle = [2, 6, 11, 16, 20, 24, 29, 34]
    assert seen["file"] == seen["folder"] and len(seen["file"]) == 8 * num_clips
    assert num_clips > 1 or seen["file"] == middle


# Names, lists and formats -----
def test_names_rules_and_media():
    assert {name: kind.rule for name, kind in KINDS.items()} == {
        "kinetics": "dense", "kinetics_sparse": "segments", "sth": "segments", "ssv1": "segments",
        "ssv2": "segments", "ucf101": "dense", "hmdb": "dense", "hmdb51": "dense",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(WORDS))
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_template_names_the_lists_and_plain_names_stand_in_for_it(tmp_path, name, split):
    (tmp_path / f"{split}.csv").write_text("plain 9 1\n")
    assert build_dataset(config(name, tmp_path), split).name(0) == "plain"
    word = WORDS[name][split != "train"]
    (tmp_path / f"list_{word}.txt").write_text("templated 9 2\n")
    dataset = build_dataset(config(name, tmp_path, DATA__PATH_LABEL_SEPARATOR=","), split)
    assert dataset.name(0) == "templated" and dataset.open_media == FrameFolders("img_{:05d}.png")


@pytest.mark.parametrize("name", ["ssv2", "hmdb51"])
def test_lists_of_video_files_are_read_straight(tmp_path, name):
    (tmp_path / "test.csv").write_text("100218.webm 1\n7 b.webm 2\n")
    dataset = build_dataset(config(name, tmp_path, DATA__PATH_LABEL_SEPARATOR=","), "test")
    assert dataset.name(1) == "7 b.webm" and dataset.open_media == VideoFiles()
    assert dataset.sampler.rule == KINDS[name].rule


@pytest.mark.parametrize("name", ["kinetics", "kinetics_sparse", "ucf101"])
def test_a_list_of_frame_folders_is_not_read_as_video_files(folders, tmp_path, name):
    (tmp_path / "train.csv").write_text((folders / "list_train.txt").read_text())
    with pytest.raises(
        ValueError, match=rf"train.csv: a list of frame folders .* but {name} reads video files"
    ):
        build_dataset(config(name, tmp_path), "train")


@pytest.mark.parametrize("name", ["sth", "ssv1"])
def test_a_list_of_video_files_is_not_read_as_frame_folders(tmp_path, name):
    (tmp_path / "train.csv").write_text("a.mp4,1\nb.mp4,2\n")
    with pytest.raises(
        ValueError, match=r"train.csv:1: two columns in 'a.mp4,1'.*belongs to another data set"
    ):
        build_dataset(config(name, tmp_path), "train")


def test_the_list_of_a_data_set_with_more_classes(tmp_path):
    (tmp_path / "train.csv").write_text("a 9 1\nb 9 173\n")
    with pytest.raises(
        ValueError, match=r"train.csv:2: label 173 is outside 0..2 .* list of another data set"
    ):
        build_dataset(config("ssv2", tmp_path), "train")


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "hmdb"])
def test_splits(tmp_path, name):
    for split in (1, 2, 3):
        (tmp_path / f"split{split}").mkdir()
        (tmp_path / f"split{split}" / "test.csv").write_text(f"from_{split}.avi 0\n")
    assert build_dataset(config(name, tmp_path), "test").name(0) == "from_1.avi"
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    dataset = build_dataset(config(name, tmp_path, DATA__SPLIT=3), "test")
    assert dataset.name(0) == "from_3.avi" and dataset.class_names == ["a", "b", "c"]
    (tmp_path / "split3" / "classes.txt").write_text("x\ny\nz\n")
    assert build_dataset(config(name, tmp_path, DATA__SPLIT=3), "test").class_names == ["x", "y", "z"]
    (tmp_path / "test.csv").write_text("here.avi 0\n")
    assert build_dataset(config(name, tmp_path, DATA__SPLIT=3), "test").name(0) == "here.avi"


def test_a_folder_of_another_split_is_refused(tmp_path):
    folder = tmp_path / "split2"
    folder.mkdir()
    (folder / "test.csv").write_text("a.avi 0\n")
    with pytest.raises(ValueError, match=r"is named split2, but DATA.SPLIT is 1: write DATA.SPLIT 2, or"):
        build_dataset(config("ucf101", f"{folder}/"), "test")
    assert build_dataset(config("ucf101", folder, DATA__SPLIT=2), "test").name(0) == "a.avi"


def test_a_missing_list_names_every_place_looked_at(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"split2.list_val.txt or .*split2.val.csv: no such file .*for val"
    ):
        build_dataset(config("hmdb51", tmp_path, DATA__SPLIT=2), "val")
    with pytest.raises(
        FileNotFoundError, match=r"test.csv: no such file .*PATH_TO_DATA_DIR says where lists lie$"
    ):
        build_dataset(config("kinetics", tmp_path), "test")


def test_lists_of_one_split_are_not_mixed_with_others(tmp_path):
    (tmp_path / "split1").mkdir()
    (tmp_path / "split1" / "test.csv").write_text("a.avi 0\n")
    (tmp_path / "train.csv").write_text("a.avi 0\n")
    with pytest.raises(FileNotFoundError, match="test.csv: no such file"):
        build_dataset(config("ucf101", tmp_path), "test")


def test_seconds_need_a_frame_rate(folders):
    with pytest.raises(
        ValueError, match="SAMPLING_UNIT seconds needs a frame rate, which frame folders do not"
    ):
        build_dataset(config("hmdb", folders, DATA__SAMPLING_UNIT="seconds"), "test")
    build_dataset(config("sth", folders, DATA__SAMPLING_UNIT="seconds"), "test")  # segments measure no time


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATA__IMAGE_TEMPLATE", "img.jpg", "IMAGE_TEMPLATE is 'img.jpg'; it must have one place to fill"),
        ("DATA__IMAGE_TEMPLATE", "img_{:05d}_{}.jpg", "one place to fill, such as img_{:05d}.jpg"),
        ("DATA__IMAGE_TEMPLATE", "img_{frame}.jpg", "one place to fill"),
        ("DATA__LABEL_PATH_TEMPLATE", "list.txt", "such as {}.txt for train.txt and val.txt"),
        ("DATA__SPLIT", 4, "DATA.SPLIT is 4; allowed: 1, 2, 3"),
        (
            "TEST__NUM_TEMPORAL_CLIPS",
            [1, 0],
            r"NUM_TEMPORAL_CLIPS is \[1, 0\]; its numbers must be 1 or more",
        ),
        ("TEST__HAS_LABELS", "maybe", "TEST.HAS_LABELS is 'maybe'; allowed: 'auto', True, False"),
    ],
)
def test_wrong_keys(tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        config("sth", tmp_path, **{key: value})


# Bad folders -----
@pytest.fixture
def some_bad(folders, tmp_path):
    """Two good folders, then a missing one, a short one, one with a gap and one of mixed sizes."""
    lines = ["videos/video 0 30 0", "videos/video 1 64 1", "videos/gone 30 2", "videos/video 0 31 2"]
    for name in ("gap", "mixed"):
        (tmp_path / name).mkdir()
        for number in range(1, 31):
            source = folders / "videos" / "video 0" / f"img_{number:05d}.png"
            os.link(source, tmp_path / name / source.name)
        lines.append(f"{tmp_path / name} 30 2")
    (tmp_path / "gap" / "img_00013.png").unlink()
    (tmp_path / "mixed" / "img_00013.png").unlink()
    Image.new("RGB", (20, 20)).save(tmp_path / "mixed" / "img_00013.png")
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return config("ssv2", tmp_path, DATA__PATH_PREFIX=folders)


def test_bad_folders_are_named_in_a_test(some_bad):
    dataset = build_dataset(some_bad, "test")
    reasons = {index: dataset[0, index].report.failures for index in range(6)}
    assert not reasons[0] and not reasons[1]
    said = [reasons[index][0][1] for index in range(2, 6)]
    assert [reasons[index][0][0] for index in range(2, 6)] == [2, 3, 4, 5]
    for part, reason in zip(
        ["no such folder", "the list says 31 frames, the folder holds 30", "gaps in the numbering, the first at "
         "img_00013.png", "frames of mixed size"], said, strict=True,
    ):  # fmt: skip
        assert part in reason


def test_bad_folders_are_replaced_in_training(some_bad):
    dataset = build_dataset(some_bad, "train")
    item = dataset[0, 2]
    assert (
        item.report.readable and item.report.source != 2 and item.report.failures[0] == (2, "no such folder")
    )
    assert item.labels.tolist() == [dataset.label(item.report.source)]


def test_frame_folders_work_in_spawned_workers(folders):
    dataset = build_dataset(config("sth", folders, TEST__NUM_TEMPORAL_CLIPS=[2]), "test")
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[0, 1].views.clips, dataset[0, 1].views.clips)


# Shards -----
@pytest.fixture
def shard_cfg(write_tar, tmp_path):
    """A config of a list of one video, whose shard holds something else than a video."""
    shards._open.cache_clear()
    (tmp_path / "test.csv").write_text("a.mp4 0\n")
    write_tar(tmp_path / "0.tar", {"a.mp4": b"not a video"})
    return config("kinetics", tmp_path, DATA__PATH_PREFIX=tmp_path / "*.tar", OUTPUT_DIR=tmp_path / "out")


def test_videos_come_from_shards_where_the_prefix_names_tars(shard_cfg):
    dataset = build_dataset(shard_cfg, "test")
    assert isinstance(dataset.open_media, ShardFiles) and dataset.name(0) == "a.mp4"
    ((index, reason),) = dataset[0, 0].report.failures
    assert index == 0 and reason.startswith("not a readable video")


def test_shards_work_behind_a_frame_cache(shard_cfg, tmp_path):
    cfg = config(
        "kinetics", tmp_path, DATA__PATH_PREFIX=shard_cfg.DATA.PATH_PREFIX, DATA__CACHE_SHORT_SIDE=32
    )
    ((_, reason),) = build_dataset(cfg, "test")[0, 0].report.failures
    assert reason.startswith("not a readable video")


def test_rank_0_makes_the_index_and_what_stops_it_stops_all(shard_cfg, monkeypatch):
    sent = []
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: sent.append(value) or value)
    build_dataset(shard_cfg, "test")
    os.truncate(shard_cfg.DATA.PATH_PREFIX.replace("*", "0"), 520)
    with pytest.raises(ValueError, match="truncated"):
        build_dataset(shard_cfg, "test")
    assert sent[0] is None and "truncated" in str(sent[1])

    monkeypatch.setattr(distributed, "is_main", lambda: False)
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: sent[1])
    with pytest.raises(ValueError, match="truncated"):
        build_dataset(shard_cfg, "test")


def test_other_ranks_read_the_index_when_it_is_there(shard_cfg, monkeypatch):
    opened = []
    open_index = shards.open_index
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: opened.append("word of rank 0"))
    monkeypatch.setattr(shards, "open_index", lambda *args: opened.append(args) or open_index(*args))
    assert build_dataset(shard_cfg, "test").open_media.index.read("a.mp4") == b"not a video"
    assert opened == ["word of rank 0", (shard_cfg.DATA.PATH_PREFIX, shard_cfg.OUTPUT_DIR)]
