"""benchmarks/fuzz.py: what it damages is what it says, and nothing it makes causes a fault; many more if slow."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import av
import fuzz
import numpy as np
import pytest
from fuzzing import checkpoints, outcomes, texts, videos
from fuzzing.containers import HEADER, INDEX, PAYLOAD, REGIONS, label
from fuzzing.damaging import PAIRS, damaged, damaged_text, encode
from fuzzing.outcomes import Tally, Victim, kind_of

from slowfast.datasets.tar_members import read_members
from slowfast.utils.isolation import Limits, Outcome

ROOT = Path(__file__).resolve().parents[1]
LIMITS = Limits(120, 1)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """name of a pair → path of a sound video of it."""
    folder, rng = tmp_path_factory.mktemp("sound"), np.random.default_rng(0)
    paths = {pair.name: folder / f"{number}{pair.suffix}" for number, pair in enumerate(PAIRS)}
    for pair in PAIRS:
        encode(pair, paths[pair.name], rng)
    return paths


def test_pairs_are_many_and_small(encoded):
    assert len(encoded) == len(PAIRS) == 15 and len({pair.suffix for pair in PAIRS}) == 8
    for path in encoded.values():
        with av.open(str(path)) as container:
            frames = [frame for frame in container.decode(video=0)]
        assert 12 <= len(frames) <= 30
        assert all(64 <= side <= 128 for side in (frames[0].width, frames[0].height))


@pytest.mark.parametrize("name", [pair.name for pair in PAIRS])
def test_every_region_has_bytes_and_pictures_are_payload(encoded, name):
    data = encoded[name].read_bytes()
    labels = label(data, encoded[name].suffix)
    assert {int(region) for region in np.unique(labels)} == {HEADER, INDEX, PAYLOAD}
    with av.open(str(encoded[name])) as container:
        pictures = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    if encoded[name].suffix in (".ts", ".gif"):  # where pictures lie in pieces
        assert (labels == PAYLOAD).sum() > sum(map(len, pictures)) / 2
        return
    for picture in pictures:
        begin = data.index(picture)
        assert (labels[begin : begin + len(picture)] == PAYLOAD).all()


@pytest.mark.parametrize(
    ("name", "region", "marks"),
    [
        ("mp4/libx264+aac", INDEX, [b"stsz", b"stco", b"stts", b"ctts"]),
        ("mp4/libx264+aac", HEADER, [b"ftyp", b"moov", b"avcC"]),
        ("avi/mjpeg", INDEX, [b"idx1"]),
        ("avi/mjpeg", HEADER, [b"avih", b"strh", b"movi"]),
        ("mkv/mpeg4", INDEX, [b"\x1c\x53\xbb\x6b", b"\x11\x4d\x9b\x74"]),  # Cues, SeekHead
        ("mkv/mpeg4", HEADER, [b"\x1a\x45\xdf\xa3", b"\x16\x54\xae\x6b"]),  # EBML, Tracks
        ("gif/gif", HEADER, [b"GIF89a"]),
        ("flv/flv", HEADER, [b"FLV", b"onMetaData"]),
    ],
)
def test_landmarks_of_containers(encoded, name, region, marks):
    data = encoded[name].read_bytes()
    labels = label(data, encoded[name].suffix)
    for mark in marks:
        begins = [
            found.start() for found in re.finditer(re.escape(mark), data)
        ]  # Matroska's index names others
        assert any((labels[begin : begin + len(mark)] == region).all() for begin in begins), mark


def test_packets_of_a_transport_stream(encoded):
    data = encoded["ts/libx264"].read_bytes()
    labels = label(data, ".ts")
    for begin in range(0, len(data), 188):
        number = int.from_bytes(data[begin + 1 : begin + 3], "big") & 0x1FFF
        expected = HEADER if number in (0, 17, 4096) else INDEX  # PAT, SDT, and where FFmpeg puts the PMT
        assert labels[begin] == expected


@pytest.mark.parametrize("region", range(3))
def test_damage_keeps_to_its_region_and_follows_from_the_seed(encoded, region):
    data = encoded["mp4/libx264+aac"].read_bytes()
    labels = label(data, ".mp4")
    same_length = 0
    for seed in range(40):
        changed = damaged(data, labels, region, np.random.default_rng(seed))
        assert changed != data and changed == damaged(data, labels, region, np.random.default_rng(seed))
        if len(changed) == len(data):
            same_length += 1
            differing = np.frombuffer(changed, np.uint8) != np.frombuffer(data, np.uint8)
            assert (labels[differing] == region).all()
    assert same_length > 5


def test_a_file_without_the_region_is_refused():
    with pytest.raises(ValueError, match="no byte of the file is index"):
        damaged(b"abc", np.zeros(3, np.uint8), INDEX, np.random.default_rng(0))


def test_texts_are_damaged_alike_with_the_same_seed():
    made = [damaged_text(b"a b\n" * 9, [b",", b"7"], np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome(("good", "")), "whole"),
        (Outcome(("damaged", "10 of 20 packets are incomplete")), "damaged"),
        (Outcome(("bad", "empty file")), "refused"),
        (Outcome(failure="its process crashed (SIGSEGV)", at_limit=True), "crashed"),
        (Outcome(failure="its process was killed (SIGKILL), perhaps ...", at_limit=True), "crashed"),
        (Outcome(failure="not done after 30 seconds", at_limit=True), "late"),
        (Outcome(failure="needs more than 1 GB of memory", at_limit=True), "memory"),
        (Outcome(("bad", "")), "fault"),
        (Outcome(("bad", "two\nlines")), "fault"),
        (Outcome(("good", "why?")), "fault"),
        (Outcome(failure="its process gave a garbled answer", at_limit=True), "fault"),
        (Outcome(failure="unexpected IndexError: list index out of range"), "fault"),
    ],
)
def test_what_is_a_fault(outcome, kind):
    assert kind_of(outcome) == kind


def test_the_table_counts_and_names(tmp_path):
    path = tmp_path / "000001.mp4"
    path.write_bytes(b"x")
    tally = Tally(tmp_path / "kept")
    for region, outcome in (
        ("index", Outcome(("good", ""))),
        ("index", Outcome(("bad", "ends after 7 frames"))),
        ("header", Outcome(("bad", "ends after 12 frames"))),
        ("header", Outcome(failure="its process crashed (SIGSEGV)", at_limit=True)),
        ("header", Outcome(failure="unexpected KeyError: 1")),
    ):
        tally.add(Victim(path, "mp4/h264", region), outcome)
    assert tally.table().splitlines() == [
        "| file | region | files | whole | damaged | refused | crashed | late | memory | fault |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| mp4/h264 | header | 3 | 0 | 0 | 1 | 1 | 0 | 0 | 1 |",
        "| mp4/h264 | index | 2 | 1 | 0 | 1 | 0 | 0 | 0 | 0 |",
        "| all | header | 3 | 0 | 0 | 1 | 1 | 0 | 0 | 1 |",
        "| all | index | 2 | 1 | 0 | 1 | 0 | 0 | 0 | 0 |",
        "| all |  | 5 | 1 | 0 | 2 | 1 | 0 | 0 | 1 |",
    ]
    assert tally.told().splitlines() == [
        "     2 x ends after 0 frames",
        "1 kinds of reasons",
        "crashed: 000001.mp4: 'its process crashed (SIGSEGV)'",
        "fault: 000001.mp4: 'unexpected KeyError: 1'",
    ]
    assert tally.num_faults == 1 and [victim.path for victim in tally.ended] == [path]
    assert os.listdir(tmp_path / "kept") == ["000001.mp4"]


def test_regions_get_a_third_of_the_videos_each(tmp_path, encoded):
    made = [(name, path) for name, path in encoded.items()]
    media = [("clips .avi", encoded["avi/mjpeg"])]
    victims = videos.damage_videos(made, media, tmp_path, 225, np.random.default_rng(0))
    assert len({victim.path for victim in victims}) == 225
    counts = {region: sum(victim.region == region for victim in victims) for region in REGIONS}
    assert counts == {"header": 75, "index": 75, "payload": 75}
    assert sum(victim.origin == "clips .avi" for victim in victims) == 45


def media_folders():
    media = os.environ.get("SLOWFAST_TEST_MEDIA")
    return (
        [Path(media) / "clips" / name for name in ("torchvision", "mmaction2", "uniformer")] if media else []
    )


def run(capsys, function, *arguments):
    faults = function(*arguments)
    printed = capsys.readouterr().out
    assert not faults, printed
    return printed


def test_some_damaged_videos(tmp_path, capsys):
    printed = run(capsys, fuzz.run_videos, tmp_path, 90, 1, [], LIMITS)
    assert "| all |  | 90 |" in printed and "9 of them through the loader, one worker" in printed


def test_some_damaged_texts_and_checkpoints(tmp_path, capsys):
    assert "| all |  | 160 |" in run(capsys, fuzz.run_texts, tmp_path, 160, 1, LIMITS)
    assert "| all |  | 50 |" in run(capsys, fuzz.run_checkpoints, tmp_path, 50, 1, LIMITS)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_some_damaged_shards(tmp_path, write_shard, form):
    """Headers are hit, half of the time with a right checksum after that."""
    path, rng = write_shard(tmp_path / "0.tar", form), np.random.default_rng(form)
    data = path.read_bytes()
    labels = np.repeat(
        [data[begin + 257 : begin + 262] == b"ustar" for begin in range(0, len(data), 512)], 512
    )
    for number in range(200):
        changed = damaged(data, labels.astype(np.uint8), INDEX, rng)
        path.write_bytes(with_right_checksums(changed) if number % 2 else changed)
        try:
            sizes = [member.size for member in read_members(path)]
        except ValueError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
        else:
            assert min(sizes, default=0) >= 0


@pytest.fixture
def write_shard():
    def write(path, form):
        with tarfile.open(path, "w", format=form) as tar:
            for name in ("a/é.mp4", f"{'b' * 60}/{'c' * 60}.mp4", "d.mp4"):
                info = tarfile.TarInfo(name)
                info.size = 700
                tar.addfile(info, io.BytesIO(bytes(700)))
        return path

    return write


def with_right_checksums(data):
    data = bytearray(data)
    for begin in range(0, len(data) - 511, 512):
        if data[begin + 257 : begin + 262] == b"ustar":
            data[begin + 148 : begin + 156] = b" " * 8
            data[begin + 148 : begin + 156] = b"%06o\0 " % sum(data[begin : begin + 512])
    return bytes(data)


@pytest.mark.slow
def test_many_damaged_videos(tmp_path, capsys):
    assert "| all |  | 5000 |" in run(capsys, fuzz.run_videos, tmp_path, 5000, 2, media_folders(), LIMITS)


@pytest.mark.slow
def test_many_damaged_texts_and_checkpoints(tmp_path, capsys):
    assert "| all |  | 3000 |" in run(capsys, fuzz.run_texts, tmp_path, 3000, 2, LIMITS)
    assert "| all |  | 1000 |" in run(capsys, fuzz.run_checkpoints, tmp_path, 1000, 2, LIMITS)


def test_sound_texts_and_checkpoints_are_whole(tmp_path):
    for kind, text in texts.TEXTS.items():
        if not text:
            continue
        path = tmp_path / f"a{'.json' if kind == 'names json' else '.txt'}"
        path.write_bytes(text)
        assert texts.read_text((kind, str(path))) == (outcomes.GOOD, "")
    checkpoints.checkpoint.save(checkpoints.state(), tmp_path / "a.pyth")
    assert checkpoints.read_checkpoint(str(tmp_path / "a.pyth")) == (outcomes.GOOD, "")


def test_the_command(tmp_path):
    words = ["--out", tmp_path, "--videos", 0, "--texts", 8, "--checkpoints", 0]
    command = [sys.executable, ROOT / "benchmarks" / "fuzz.py", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PyAV ") and done.stdout.endswith("\n0 faults\n")
