"""tools/prepare_data.py from end to end: each owner's files, and class folders that train with two commands."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slowfast import cli
from slowfast.datasets.annotations import read_class_names
from slowfast.datasets.video_writer import write_video

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "prepare_data.py"
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"
FOUR_FRAMES = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None, None] * 60, (4, 32, 48, 3))


@pytest.fixture
def prepare(capsys):
    """A function from the words of the command line to (exit status, what it printed, errors)."""

    def run(*words):
        status = cli.main(["prepare", *map(str, words), "--workers", "1"])
        return status, *capsys.readouterr()

    return run


def make_videos(root, *paths, frames=FOUR_FRAMES):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        codec = {".avi": "mpeg4", ".webm": "libvpx-vp9"}.get(Path(path).suffix, "libx264")
        write_video(root / path, frames, 10, codec=codec)
    return root


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def lines(path):
    return path.read_text().splitlines()


def keys_in(printed):
    """The words for tools/run_net.py, as a shell takes them apart."""
    before, words = printed.splitlines()[-2:]
    assert before == "for the command line of tools/run_net.py:"
    return shlex.split(words)


def lists_with(debug_cfg, printed):
    """split → number of videos, as the data sets read the printed keys."""
    from slowfast.datasets.build import build_dataset

    cfg = debug_cfg(*keys_in(printed))
    wanted = {
        "train": cfg.TRAIN.ENABLE,
        "val": cfg.TRAIN.ENABLE and cfg.TRAIN.EVAL_PERIOD,
        "test": cfg.TEST.ENABLE,
    }
    splits = [split for split, is_read in wanted.items() if is_read]
    found = {}
    for split in splits:
        table = build_dataset(cfg, split).table
        assert all(Path(table.path(n)).exists() for n in range(len(table)))
        found[split] = len(table)
    return found


def kinetics_csv(path, split, *rows):
    return write(
        path, "\n".join(["label,youtube_id,time_start,time_end,split", *(f"{r},{split}" for r in rows)])
    )


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    """Three classes of six clips by three persons, a copy and a broken file."""
    root = tmp_path_factory.mktemp("tree") / "videos"
    rng = np.random.default_rng(0)
    for name, suffix in (("jump", "mp4"), ("run fast", "avi"), ("walk", "webm")):
        for n in range(6):
            frames = rng.integers(0, 255, (16, 40, 48, 3), dtype=np.uint8)
            make_videos(root, f"{name}/person{n // 2}_{n}.{suffix}", frames=frames)
    (root / "walk" / "copy_person0.webm").write_bytes((root / "walk" / "person0_0.webm").read_bytes())
    (root / "walk" / "empty_person0.mp4").touch()
    return root


def test_class_folders_train_with_two_commands(class_folders, tmp_path):
    out = tmp_path / "lists"
    first = [
        TOOL,
        "folders",
        class_folders,
        "--out",
        out,
        "--group-by",
        r"person(\d)",
        "--val",
        0.3,
        "--test",
        0.3,
    ]
    done = subprocess.run([sys.executable, *map(str, first)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert lines(out / "classes.txt") == ["jump", "run fast", "walk"]
    assert lines(out / "counts.csv")[1:] == ["0,jump,2,2,2,0", "1,run fast,2,2,2,0", "2,walk,2,2,2,2"]
    assert lines(out / "missing.csv")[1:] == [
        "walk/empty_person0.mp4,empty file",
        "walk/person0_0.webm,same content as walk/copy_person0.webm",
    ]
    keys = keys_in(done.stdout)
    assert keys == [
        *("TRAIN.DATASET", "kinetics", "TEST.DATASET", "kinetics", "DATA.PATH_TO_DATA_DIR", str(out)),
        *("DATA.PATH_PREFIX", str(class_folders), "MODEL.NUM_CLASSES", "3"),
    ]
    second = [
        ROOT / "tools" / "run_net.py",
        "--cfg",
        RECIPE,
        *keys,
        "OUTPUT_DIR",
        tmp_path / "run",
        "NUM_THREADS",
        1,
    ]
    second += ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0.5, "TRAIN.BATCH_SIZE", 4]
    done = subprocess.run([sys.executable, *map(str, second)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["num_scored"] == results["num_total"] == 6 and results["unreadable"] == []


def test_the_loader_reads_the_lists(class_folders, tmp_path, prepare, debug_cfg):
    from slowfast.datasets import build_loader

    status, out, _ = prepare("folders", class_folders, "--out", tmp_path)
    assert status == 0 and "train.csv: 12 videos" in out
    where = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "DATA.PATH_PREFIX", str(class_folders)]
    cfg = debug_cfg(*where, "MODEL.NUM_CLASSES", "3", "DATA_LOADER.NUM_WORKERS", "0")
    loader = build_loader(cfg, "val")
    assert sorted(label for batch in loader for label in batch.labels.tolist()) == [0, 1, 2]


def test_the_same_seed_gives_the_same_files(class_folders, tmp_path, prepare):
    for out, seed in (("a", 0), ("b", 0), ("c", 5)):
        assert prepare("folders", class_folders, "--out", tmp_path / out, "--seed", seed)[0] == 0
    a, b, c = ((tmp_path / out / "train.csv").read_bytes() for out in "abc")
    assert a == b != c


def test_lists_of_an_earlier_preparation_do_not_stay(class_folders, tmp_path, prepare, debug_cfg):
    lists = tmp_path / "lists"
    command = ["folders", class_folders, "--out", lists]
    assert prepare(*command)[0] == 0
    own = [write(lists / name, "mine") for name in ("train.txt", "my_test.csv", "split1/test.csv")]
    status, out, _ = prepare(*command, "--test", 0)
    assert status == 0 and f"removed test.csv of an earlier preparation from {lists}" in out
    assert not (lists / "test.csv").exists() and all(path.exists() for path in own)
    assert lists_with(debug_cfg, out) == {"train": 15, "val": 3} and "TEST.ENABLE False" in out
    assert "removed" not in prepare(*command, "--test", 0)[1]


@pytest.mark.parametrize(("test", "found"), [(0.3, {"train": 12, "test": 6}), (0, {"train": 18})])
def test_without_a_validation_list_a_run_starts_with_the_printed_words(
    class_folders, tmp_path, prepare, debug_cfg, test, found
):
    status, out, _ = prepare(
        "folders", class_folders, "--out", tmp_path / "lists", "--val", 0, "--test", test
    )
    assert status == 0 and "TRAIN.EVAL_PERIOD 0 TEST.TEST_BEST False" in out
    assert lists_with(debug_cfg, out) == found
    words = ["TEST.TEST_BEST", "True", *keys_in(out), "OUTPUT_DIR", tmp_path / "run", "NUM_THREADS", 1]
    words += ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0, "TRAIN.BATCH_SIZE", 6]
    assert cli.main(["run", "--cfg", str(RECIPE), *map(str, words)]) == 0
    assert (
        list((tmp_path / "run" / "checkpoints").iterdir()) and not (tmp_path / "run" / "best.pyth").exists()
    )
    assert (tmp_path / "run" / "results.json").exists() == ("test" in found)


def write_frames(root, **videos):
    """videos: class__video → a letter per picture, which gives its grey."""
    for name, pictures in videos.items():
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True, exist_ok=True)
        for number, letter in enumerate(pictures, start=1):
            Image.new("L", (24, 16), ord(letter)).save(folder / f"{number:05d}.jpg")
    return root


def test_copies_of_frame_folders_and_links_to_them_are_in_no_list(tmp_path, prepare):
    media = write_frames(tmp_path / "media", a__1="12", a__2="34", b__3="56", b__4="78", b__5="12")
    (media / "a" / "again").symlink_to(media / "a" / "2", target_is_directory=True)
    assert prepare("folders", media, "--out", tmp_path / "lists", "--test", 0)[0] == 0
    assert lines(tmp_path / "lists" / "missing.csv")[1:] == [
        "a/again,same content as a/2",
        "b/5,same content as a/1",
    ]
    assert lines(tmp_path / "lists" / "counts.csv")[1:] == ["0,a,1,1,1", "1,b,1,1,1"]


@pytest.mark.parametrize("classes", [None, "Pull_Up\nrun\n"])
def test_class_folders_whose_names_are_alike_are_warned_of(tmp_path, prepare, classes):
    media = write_frames(
        tmp_path / "media", Pull_Up__1="1", Pull_Up__2="2", run__1="3", run__2="4",
        **{"pull up__1": "5", "pull up__2": "6"},
    )  # fmt: skip
    command = ["folders", media, "--out", tmp_path / "lists", "--test", 0]
    command += ["--classes", write(tmp_path / "classes.txt", classes)] if classes else []
    status, out, _ = prepare(*command)
    assert status == 0
    assert "warning: the class folders 'Pull_Up', 'pull up' differ only in case, spaces or punctuation" in out
    (media / "pull up").rename(media / "push up")
    if not classes:
        assert "warning" not in prepare(*command)[1]


def test_frame_lists_take_the_place_of_video_lists(tmp_path, prepare):
    media = make_videos(tmp_path / "media", "78687.webm", "42326.webm", "5.webm")
    command = [*something(tmp_path, "v2"), "--media", media]
    assert prepare(*command)[0] == 0
    status, out, _ = prepare(*command, "--extract-frames", tmp_path / "frames")
    assert status == 0 and not list((tmp_path / "lists").glob("t*.csv"))
    assert all(f"removed {name}.csv of" in out for name in ("train", "val", "test"))
    assert "removed somesomev2_rgb_train_split.txt of" in prepare(*command)[1]


def test_class_folders_become_frame_folders(class_folders, tmp_path, prepare, debug_cfg):
    command = ["folders", class_folders, "--out", tmp_path / "lists", "--extract-frames", tmp_path / "frames"]
    status, out, _ = prepare(*command, "--short-side", 20)
    assert status == 0
    line = next(line for line in lines(tmp_path / "lists" / "train.csv") if line.startswith("run fast/"))
    folder, count, label = line.split("\t")  # a space in the path
    assert (count, label) == ("16", "1") and len(list((tmp_path / "frames" / folder).iterdir())) == 16
    assert f"DATA.PATH_PREFIX {tmp_path / 'frames'} " in out and "DATA.IMAGE_TEMPLATE 'img_{:05d}.jpg'" in out
    assert "LABEL_PATH_TEMPLATE" not in out and "TRAIN.DATASET ssv2 TEST.DATASET ssv2" in out
    assert lists_with(debug_cfg, out) == {"train": 12, "val": 3, "test": 3}
    # Frame folders are a data set of their own: listed again, they give the same split.
    assert prepare("folders", tmp_path / "frames", "--out", tmp_path / "again")[0] == 0
    assert len(lines(tmp_path / "again" / "train.csv")) == len(lines(tmp_path / "lists" / "train.csv"))


def test_a_video_that_cannot_be_read_is_left_out_before_the_split(class_folders, tmp_path, prepare):
    bad = class_folders / "jump" / "person0_bad.mp4"
    bad.write_bytes(b"no video")
    try:
        status, out, _ = prepare(
            "folders", class_folders, "--out", tmp_path / "lists", "--transcode", tmp_path / "small"
        )
    finally:
        bad.unlink()
    assert status == 0 and "3 left out" in out and "converted now: 18, earlier: 0, impossible: 1" in out
    assert "jump/person0_bad.mp4,not a readable video" in (tmp_path / "lists" / "missing.csv").read_text()
    listed = [
        line.split(",")[0]
        for name in ("train", "val", "test")
        for line in lines(tmp_path / "lists" / f"{name}.csv")
    ]
    assert len(listed) == 18 and all((tmp_path / "small" / path).suffix == ".mp4" for path in listed)
    assert all((tmp_path / "small" / path).is_file() for path in listed)


def test_a_class_of_which_nothing_can_be_used_is_told_with_the_reason(tmp_path, prepare):
    media = tmp_path / "media"
    for number in range(3):
        make_videos(media, f"a/{number}.mp4", frames=FOUR_FRAMES + number)
    for name in ("b/0.mp4", "b/1.mp4", "a/3.mp4"):
        write(media / name, f"no video: {name}")
    status, out, errors = prepare("folders", media, "--out", tmp_path / "lists")
    missing = tmp_path / "lists" / "missing.csv"
    assert status and "'b' (0 videos in 0 groups)" in errors
    assert f"Left out before that, see {missing}: 2 of 'b', such as 'b/0.mp4': not a readable video" in errors
    assert "; 1 of 'a', such as 'a/3.mp4': " in errors
    assert [line.split(",")[0] for line in lines(missing)] == ["path", "a/3.mp4", "b/0.mp4", "b/1.mp4"]


def test_videos_are_opened_before_they_are_listed(class_folders, tmp_path, prepare):
    bad = class_folders / "jump" / "person0_bad.mp4"
    bad.write_bytes(b"no video")
    command = ["folders", class_folders, "--out", tmp_path]
    try:
        status, out, _ = prepare(*command)
        assert status == 0 and "19 video files opened; unreadable: 1" in out
        assert "jump/person0_bad.mp4,not a readable video" in (tmp_path / "missing.csv").read_text()
        assert lines(tmp_path / "counts.csv")[1].endswith(",1")
        status, out, _ = prepare(*command, "--no-check")
    finally:
        bad.unlink()
    assert status == 0 and "files opened" not in out and "unreadable" not in out
    listed = [line for name in ("train", "val", "test") for line in lines(tmp_path / f"{name}.csv")]
    assert len(listed) == 19 and "jump/person0_bad.mp4,0" in listed


def test_class_folders_without_media_are_named(tmp_path, prepare):
    media = make_videos(tmp_path / "media", *(f"{name}/{n}.mp4" for name in "ab" for n in range(2)))
    for n, path in enumerate(sorted(media.glob("*/*.mp4"))):
        write_video(path, FOUR_FRAMES + np.uint8(n), 10)
    write(media / "c" / "empty.mp4", "")
    (media / "d").mkdir()
    status, out, _ = prepare("folders", media, "--out", tmp_path / "lists", "--test", 0)
    assert status == 0 and "no usable media in class folders: c, d; they are no classes" in out
    assert lines(tmp_path / "lists" / "classes.txt") == ["a", "b"]


def test_a_broken_video_that_an_owner_names_is_in_no_list(tmp_path, prepare):
    media = make_videos(tmp_path / "media", "good.mp4")
    write(media / "bad.mp4", "no video")
    val = kinetics_csv(tmp_path / "val.csv", "val", "abseiling,good,84,94", "marching,bad,3,13")
    out = tmp_path / "lists"
    assert prepare("kinetics", "--set", "k400", "--val", val, "--media", media, "--out", out)[0] == 0
    assert lines(out / "val.csv") == lines(out / "test.csv") == ["good.mp4,341"]
    assert lines(out / "missing.csv")[1].startswith("bad.mp4,not a readable video")


def test_kinetics(tmp_path, prepare, debug_cfg):
    media = make_videos(
        tmp_path / "media", "abseiling/---QUuC4vJs.mp4", "x/id_2_000001_000011.webm", "extra.mp4"
    )
    train = kinetics_csv(tmp_path / "train.csv", "train", "abseiling,---QUuC4vJs,84,94", "marching,gone,3,13")
    val = kinetics_csv(tmp_path / "validate.csv", "validate", "riding a bike,id_2,1,11")
    out = tmp_path / "lists"
    status, printed, _ = prepare(
        "kinetics", "--set", "k400", "--train", train, "--val", val, "--media", media, "--out", out
    )
    assert status == 0
    assert lines(out / "train.csv") == ["abseiling/---QUuC4vJs.mp4,341"]
    assert lines(out / "val.csv") == lines(out / "test.csv") == ["x/id_2_000001_000011.webm,0"]
    assert lines(out / "missing.csv")[1:] == [f"gone_000003_000013,not found ({train}:3)"]
    assert lines(out / "counts.csv")[2] == "1,marching,0,0,0,1"
    assert f"1 video file in {media} is in none of these lists" in printed
    assert "test.csv: 1 video, the validation list again" in printed
    assert lists_with(debug_cfg, printed) == {"train": 1, "val": 1, "test": 1}
    command = ["kinetics", "--set", "k400", "--val", val, "--media", media, "--out", tmp_path / "val only"]
    printed = prepare(*command)[1]
    assert lists_with(debug_cfg, printed) == {"test": 1} and "TRAIN.ENABLE False" in printed
    printed = prepare(*command, "--extract-frames", tmp_path / "frames")[1]
    assert lists_with(debug_cfg, printed) == {"test": 1} and "TEST.DATASET hmdb51" in printed


def test_kinetics_600_folders_with_punctuation(tmp_path, prepare):
    path = "val_videos/hurling_(sport)/abc_000001_000011.mp4"
    media = make_videos(tmp_path / "media", path)
    val = kinetics_csv(tmp_path / "val.csv", "val", "hurling (sport),abc,1,11")
    assert (
        prepare("kinetics", "--set", "k600", "--val", val, "--media", media, "--out", tmp_path / "lists")[0]
        == 0
    )
    number = read_class_names(ROOT / "data_lists" / "k600" / "classes.txt").index("hurling sport")
    assert lines(tmp_path / "lists" / "val.csv") == [f"{path},{number}"]


def something(tmp_path, version):
    names = read_class_names(ROOT / "data_lists" / f"ss{version}" / "classes.txt")
    stem = tmp_path / f"something-something-{version}"
    videos = {"train": {"78687": 41, "42326": 109}, "validation": {"5": 0}}
    words = ["something", "--version", version, "--out", tmp_path / "lists"]
    for split, option in (("train", "--train"), ("validation", "--val"), ("test", "--test")):
        rows = videos.get(split, {"9": None})
        if version == "v1":
            text = "".join(
                f"{video};{names[n]}\n" if n is not None else f"{video}\n" for video, n in rows.items()
            )
            words += [option, write(stem.with_name(f"{stem.name}-{split}.csv"), text)]
        else:
            text = [
                {"id": video, **({"template": names[n]} if n is not None else {})}
                for video, n in rows.items()
            ]
            words += [option, write(stem.with_name(f"{stem.name}-{split}.json"), json.dumps(text))]
    return words


def test_something_v1_from_the_frames_that_its_owner_distributes(tmp_path, prepare, debug_cfg):
    write_frames(tmp_path / "media", **{"78687": "abc", "42326": "de", "5": "fghi", "9": "j"})
    names = read_class_names(ROOT / "data_lists" / "ssv1" / "classes.txt")
    labels = write(tmp_path / "something-something-v1-labels.csv", "\n".join(names))
    status, out, _ = prepare(*something(tmp_path, "v1"), "--media", tmp_path / "media", "--labels", labels)
    assert status == 0
    lists = tmp_path / "lists"
    assert lines(lists / "somesomev1_rgb_train_split.txt") == ["78687 3 41", "42326 2 109"]
    assert lines(lists / "somesomev1_rgb_validation_split.txt") == ["5 4 0"]
    assert lines(lists / "somesomev1_rgb_test_split.txt") == ["9 1 0"]
    assert "DATA.IMAGE_TEMPLATE '{:05d}.jpg' DATA.LABEL_PATH_TEMPLATE 'somesomev1_rgb_{}_split.txt'" in out
    assert "label 0 for all: not to be scored" in out
    assert lists_with(debug_cfg, out) == {"train": 2, "val": 1, "test": 1}


def test_something_v1_refuses_video_files_that_nobody_reads(tmp_path, prepare):
    media = make_videos(tmp_path / "media", "78687.webm", "42326.webm", "5.webm")
    command = [*something(tmp_path, "v1"), "--media", media]
    for making in ([], ["--transcode", tmp_path / "small"]):
        status, _, error = prepare(*command, *making)
        assert status == 2 and "reads frame folders only: add --extract-frames DIR" in error
    assert not list((tmp_path / "lists").iterdir())
    assert prepare(*command, "--extract-frames", tmp_path / "frames")[0] == 0


def test_something_v2_straight_from_its_videos(tmp_path, prepare, debug_cfg):
    media = make_videos(tmp_path / "media", "78687.webm", "42326.webm", "5.webm", "9.webm")
    status, out, _ = prepare(*something(tmp_path, "v2"), "--media", media)
    assert status == 0 and "TRAIN.DATASET ssv2 TEST.DATASET ssv2" in out
    assert lists_with(debug_cfg, out) == {"train": 2, "val": 1, "test": 1}
    lists = tmp_path / "lists"
    assert lines(lists / "train.csv") == ["78687.webm,41", "42326.webm,109"]
    assert lines(lists / "val.csv") == lines(lists / "test.csv") == ["5.webm,0"]
    assert lines(lists / "unlabelled.csv") == ["9.webm,0"]


def test_something_v2_extracted(tmp_path, prepare, debug_cfg):
    media = make_videos(tmp_path / "media", "78687.webm", "42326.webm", "5.webm")
    command = [*something(tmp_path, "v2"), "--media", media, "--extract-frames", tmp_path / "frames"]
    for counts in ("now: 3, earlier: 0, impossible: 0", "now: 0, earlier: 3, impossible: 0"):
        status, out, _ = prepare(*command)
        assert status == 0 and counts in out
        assert lists_with(debug_cfg, out) == {"train": 2, "val": 1, "test": 1}
        assert lines(tmp_path / "lists" / "somesomev2_rgb_train_split.txt") == ["78687 4 41", "42326 4 109"]
    assert (tmp_path / "frames" / "5" / "img_00004.jpg").exists()
    assert lines(tmp_path / "lists" / "missing.csv")[1].startswith("9,not found (")


def test_ucf101(tmp_path, prepare, debug_cfg):
    names = read_class_names(ROOT / "data_lists" / "ucf101" / "classes.txt")
    folder = tmp_path / "ucfTrainTestlist"
    write(folder / "classInd.txt", "".join(f"{n} {name}\n" for n, name in enumerate(names, start=1)))
    for k in (1, 2, 3):
        write(folder / f"trainlist0{k}.txt", f"YoYo/v_YoYo_g08_c0{k}.avi 101\n")
        write(folder / f"testlist0{k}.txt", "Archery/v_Archery_g01_c01.avi\n")
    paths = [f"UCF-101/YoYo/v_YoYo_g08_c0{k}.avi" for k in (1, 2, 3)] + [
        "UCF-101/Archery/v_Archery_g01_c01.avi"
    ]
    media = make_videos(tmp_path / "media", *paths)
    out = tmp_path / "lists"
    command = ["ucf101", "--annotations", folder, "--media", media / "UCF-101", "--out"]
    frames = prepare(*command, tmp_path / "f", "--extract-frames", tmp_path / "frames")[1]
    assert lists_with(debug_cfg, frames) == {"train": 1, "val": 1, "test": 1}
    status, printed, _ = prepare(*command, out)
    assert status == 0 and "TRAIN.DATASET ucf101 TEST.DATASET ucf101" in printed
    assert lists_with(debug_cfg, printed) == {"train": 1, "val": 1, "test": 1}
    for k in (1, 2, 3):
        assert lines(out / f"split{k}" / "train.csv") == [f"YoYo/v_YoYo_g08_c0{k}.avi 100"]
        for name in ("val.csv", "test.csv"):
            assert lines(out / f"split{k}" / name) == ["Archery/v_Archery_g01_c01.avi 2"]
    assert lines(out / "classes.txt") == lines(out / "split2" / "classes.txt") == names


def test_frame_folders_that_a_run_could_not_read_are_in_no_list(tmp_path, prepare):
    ids = ("78687", "42326", "5", "9", "11")
    media = write_frames(tmp_path / "media", **dict.fromkeys(ids, "abcdefg"))
    Image.new("L", (16, 24)).save(media / "42326" / "00003.jpg")
    (media / "9" / "00006.jpg").write_bytes(b"")
    command = [*something(tmp_path, "v1"), "--media", media]
    status, out, _ = prepare(*command)
    assert status == 0 and "4 frame folders opened; unreadable: 2" in out
    assert f"1 frame folder in {media} is in none of these lists" in out
    lists = tmp_path / "lists"
    assert lines(lists / "somesomev1_rgb_train_split.txt") == ["78687 7 41"]
    assert lines(lists / "missing.csv")[1:] == [
        '42326,"frames of mixed size: 00001.jpg is 24x16, 00003.jpg is 16x24; extract the frames of a video in one '
        'size"',
        "9,00006.jpg cannot be decoded (empty file)",
    ]
    status, out, _ = prepare(*command, "--no-check")
    assert status == 0 and "unreadable" not in out
    assert lines(lists / "somesomev1_rgb_train_split.txt") == ["78687 7 41", "42326 7 109"]


def test_videos_that_end_too_early_stay_listed_and_are_named(tmp_path, prepare):
    media = make_videos(
        tmp_path / "media", "78687.avi", "42326.avi", "5.avi", "9.avi", frames=np.repeat(FOUR_FRAMES, 9, 0)
    )
    whole = (media / "5.avi").read_bytes()
    cut = whole[: (whole.index(b"movi") + whole.index(b"idx1")) // 2]
    (media / "42326.avi").write_bytes(cut)
    command = [*something(tmp_path, "v2"), "--media", media]
    lists = tmp_path / "lists"
    for words in ([], ["--transcode", tmp_path / "small"], ["--transcode", tmp_path / "small"]):
        status, out, _ = prepare(*command, *words)
        assert status == 0 and f"1 damaged video listed, used as far as the frames go: see {lists}" in out
        header, line = lines(lists / "damaged.csv")
        assert header == "path,reason"
        assert line.startswith('42326.avi,"the header promises 36 frames, the file holds ')
        assert len(lines(lists / "train.csv")) == 2 and lines(lists / "missing.csv")[1:] == []
    assert prepare(*command, "--no-check")[0] == 0 and not (lists / "damaged.csv").exists()


def test_what_the_annotation_says_twice_is_told_and_the_scored_lists_stay_whole(tmp_path, prepare):
    media = make_videos(tmp_path / "media", "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    train = kinetics_csv(
        tmp_path / "train.csv", "train", "marching,a,1,11", "marching,b,1,11", "abseiling,c,1,11", "marching,c,1,11"
    )  # fmt: skip
    val = kinetics_csv(tmp_path / "val.csv", "val", "marching,a,1,11")
    test = kinetics_csv(tmp_path / "test.csv", "test", "abseiling,d,1,11", "abseiling,d,1,11")
    out = tmp_path / "lists"
    words = ["--set", "k400", "--train", train, "--val", val, "--test", test, "--media", media, "--out", out]
    status, printed, _ = prepare("kinetics", *words)
    assert status == 0
    assert lines(out / "train.csv") == ["b.mp4,1"]
    assert lines(out / "val.csv") == ["a.mp4,1"] and lines(out / "test.csv") == ["d.mp4,341"]
    both = f"annotated as 'abseiling' ({train}:4) and as 'marching' ({train}:5): listed as neither"
    kept = f"kept in val ({val}:2) and so taken out of train ({train}:2)"
    again = f"named again ({test}:3): listed once, for {test}:2"
    assert lines(out / "missing.csv")[1:] == [
        f"a.mp4,{kept}",
        f"c.mp4,{both}",
        f"c.mp4,{both}",
        f'd.mp4,"{again}"',
    ]
    told = "\n".join(
        [
            f"  4 left out, see {out / 'missing.csv'}",
            "    1 video annotated as two classes, listed as neither:",
            f"      c.mp4: {both}",
            "    1 video named by several lists, kept in the one that is scored:",
            f"      a.mp4: {kept}",
            "    1 video named more than once by a list, listed once:",
            f"      d.mp4: {again}",
        ]
    )
    assert told in printed


def hmdb(tmp_path):
    """Annotations and videos of two videos per class: (folder of annotations, folder of videos)."""
    names = read_class_names(ROOT / "data_lists" / "hmdb51" / "classes.txt")
    made = make_videos(tmp_path, "one.avi")
    for name in names:
        for k in (1, 2, 3):
            write(tmp_path / "split" / f"{name}_test_split{k}.txt", f"a_{name}_0.avi 1 \nb_{name}_0.avi 2 \n")
        for letter in "ab":
            path = tmp_path / "media" / name / f"{letter}_{name}_0.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((made / "one.avi").read_bytes())
    return tmp_path / "split", tmp_path / "media"


def test_hmdb51_as_videos_and_as_frames(tmp_path, prepare, debug_cfg):
    annotations, media = hmdb(tmp_path)
    command = ["hmdb51", "--annotations", annotations, "--media", media, "--out"]
    status, out, _ = prepare(*command, tmp_path / "v")
    assert status == 0 and "51 classes; videos of a class, least / median / most:" in out
    assert lists_with(debug_cfg, out) == {"train": 51, "val": 51, "test": 51}
    assert lines(tmp_path / "v" / "split3" / "train.csv")[0] == "brush_hair/a_brush_hair_0.avi 0"
    assert lines(tmp_path / "v" / "split3" / "test.csv")[50] == "wave/b_wave_0.avi 50"
    # Lists at the top would be read in place of those in the folders; splits are gone if the owner's files are.
    old = [write(tmp_path / "f" / name, "old 0") for name in ("val.csv", "split3/val.txt", "split2/test.csv")]
    for path in [*annotations.glob("*split1.txt"), *annotations.glob("*split3.txt")]:
        path.unlink()
    status, out, _ = prepare(*command, tmp_path / "f", "--extract-frames", tmp_path / "frames")
    assert status == 0 and "DATA.SPLIT 2" in out
    assert lists_with(debug_cfg, out) == {"train": 51, "val": 51, "test": 51}
    assert not any(path.exists() for path in old)
    assert lines(tmp_path / "f" / "split2" / "val.txt")[50] == "wave/b_wave_0 4 50"


def test_hmdb51_names_that_two_classes_share(tmp_path, prepare):
    annotations, media = hmdb(tmp_path)
    for k in (1, 2, 3):
        for name, use in (("run", 1), ("walk", 2), ("jump", 0)):
            with open(annotations / f"{name}_test_split{k}.txt", "a") as file:
                file.write(f"shared.avi {use} \n")
    for name in ("run", "walk", "jump"):
        (media / name / "shared.avi").write_bytes((tmp_path / "one.avi").read_bytes())
    status, out, _ = prepare(
        "hmdb51", "--annotations", annotations, "--media", media, "--out", tmp_path / "v"
    )
    assert status == 0 and "left out" not in out
    assert f"1 video file in {media} is in none of these lists" in out
    names = read_class_names(ROOT / "data_lists" / "hmdb51" / "classes.txt")
    for k in (1, 2, 3):
        folder = tmp_path / "v" / f"split{k}"
        assert lines(folder / "missing.csv") == ["path,reason"]
        assert f"run/shared.avi {names.index('run')}" in lines(folder / "train.csv")
        assert f"walk/shared.avi {names.index('walk')}" in lines(folder / "test.csv")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: (p / "empty").mkdir(), "holds 0 video files and 0 frame folders"),
        (lambda p: make_videos(p / "empty", "run/a.mp4"), "only one class folder, 'run'"),
        (lambda p: write(p / "lists", "a file"), "cannot write to the output folder"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_told_in_one_message(tmp_path, prepare, make, said):
    make(tmp_path)
    status, _, error = prepare("folders", tmp_path / "empty", "--out", tmp_path / "lists")
    assert status == 2 and error.startswith("slowfast: error: ") and said in error


@pytest.mark.parametrize("option", ["--gop", "--short-side"])
def test_options_without_what_they_are_for_are_refused(class_folders, tmp_path, prepare, option):
    status, _, error = prepare("folders", class_folders, "--out", tmp_path / "lists", option, "32")
    assert status == 2 and f"{option} is for --" in error


def test_frames_are_not_made_from_frames(class_folders, tmp_path, prepare):
    command = ["folders", class_folders, "--out", tmp_path / "lists", "--extract-frames", tmp_path / "frames"]
    status, _, error = prepare(*command, "--use", "frames")
    assert status == 2 and "--use frames: frames are extracted" in error


def test_annotations_of_another_set_are_refused(tmp_path, prepare):
    val = kinetics_csv(tmp_path / "val.csv", "val", *(f"class {n},id{n},1,11" for n in range(8)))
    media = make_videos(tmp_path / "media", "id1.mp4")
    status, _, error = prepare(
        "kinetics", "--set", "k400", "--val", val, "--media", media, "--out", tmp_path / "out"
    )
    assert status == 2 and f"{val}:2: unknown class 'class 0'" in error
    assert "is this the annotation of another data set?" in error


def test_help_has_examples_of_every_command():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, check=True)
    for command in ("kinetics", "something", "ucf101", "hmdb51", "folders"):
        assert f"slowfast prepare {command} " in done.stdout
