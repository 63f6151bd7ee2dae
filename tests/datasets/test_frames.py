import io
import random

import av
import numpy as np
import pytest

from slowfast.datasets import frames
from slowfast.datasets.frames import EndOfVideo, UnreadableVideo, open_video

# name: container, codec, number of pictures, what is special. Times are in 25ths of a second.
IRREGULAR = [0, 1, 2, 7, 8, 15, 16, 17, 40, 41, 42, 43, 70, 71, 80, 81, 82, 90, 91, 99]
X264_QUIET = {"preset": "veryfast", "threads": "1"}
VIDEOS = {
    "h264 closed groups": (
        "mp4",
        "libx264",
        40,
        {"options": X264_QUIET | {"bf": "3", "b-adapt": "0", "g": "12"}},
    ),
    "h264 open groups": (
        "mp4",
        "libx264",
        60,
        {
            "options": X264_QUIET
            | {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
        },
    ),
    "h264 transport stream": ("mpegts", "libx264", 40, {"options": X264_QUIET | {"bf": "2", "g": "10"}}),
    "h264 variable rate": ("mp4", "libx264", 20, {"times": IRREGULAR, "options": X264_QUIET | {"bf": "2"}}),
    "h264 avi": ("avi", "libx264", 30, {"options": X264_QUIET | {"bf": "2"}}),
    "hevc": (
        "mp4",
        "libx265",
        30,
        {"options": {"x265-params": "log-level=none:pools=none:keyint=10:bframes=3"}},
    ),
    "mpeg4 avi": ("avi", "mpeg4", 40, {"options": {"g": "12", "qscale": "2"}}),
    "mpeg4 avi with B-frames": ("avi", "mpeg4", 40, {"options": {"g": "12", "bf": "2"}}),
    "mpeg4 avi with gaps": ("avi", "mpeg4", 20, {"times": IRREGULAR}),
    "mpeg2 program stream": ("mpeg", "mpeg2video", 40, {"options": {"g": "12", "bf": "2"}}),
    "vp9 webm": (
        "webm",
        "libvpx-vp9",
        40,
        {
            "options": {
                "g": "20",
                "lag-in-frames": "16",
                "auto-alt-ref": "1",
                "cpu-used": "8",
                "deadline": "realtime",
            }
        },
    ),
    "vp9 variable rate": ("webm", "libvpx-vp9", 20, {"times": IRREGULAR, "options": {"cpu-used": "8"}}),
    "vp8 webm": ("webm", "libvpx", 30, {"options": {"deadline": "realtime", "b": "500k"}}),
    "av1 mp4": ("mp4", "libsvtav1", 20, {"options": {"preset": "12", "svtav1-params": "lp=1"}}),
    "mjpeg avi": ("avi", "mjpeg", 10, {"options": {"strict": "unofficial"}}),
}
QUARTER_TURN = 65536  # 1.0 in a display matrix


@pytest.fixture(scope="session")
def videos(numbered):
    made = {}

    def get(name: str) -> tuple[bytes, int]:
        if name not in made:
            container, codec, count, kwargs = VIDEOS[name]
            made[name] = numbered(container, codec, count, **kwargs)
        return made[name], VIDEOS[name][2]

    return get


@pytest.fixture
def opened(monkeypatch):
    """How often av.open was called."""
    calls, original = [], av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs))
    return calls


@pytest.fixture(params=["kept in memory", "read again"])
def either_way(request, monkeypatch):
    """Both ways a reader goes back to the start of the stream."""
    if request.param == "read again":
        monkeypatch.setattr(frames, "_KEPT_BYTES", 0)


@pytest.mark.parametrize("name", VIDEOS)
def test_every_frame_is_the_one_asked_for(name, videos, read_numbers, either_way):
    data, count = videos(name)
    rng = random.Random(name)
    with open_video(data) as reader:
        assert reader.num_frames == count
        assert reader.damage == ""
        assert read_numbers(reader.read(range(count))) == list(range(count))
        for _ in range(6):
            asked = [rng.randrange(count) for _ in range(5)]
            assert read_numbers(reader.read(asked)) == asked
        assert read_numbers(reader.read([count - 1])) == [count - 1]
        assert read_numbers(reader.read([0])) == [0]


def test_the_open_groups_are_open(videos):
    """Pictures stored after a key frame but shown before it, which need the group before."""
    with av.open(io.BytesIO(videos("h264 open groups")[0])) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    assert len(keys) == 5
    assert all(packets[place + 1].pts < packets[place].pts for place in keys[1:])


@pytest.mark.parametrize("name", ["h264 open groups", "h264 variable rate", "hevc", "mpeg4 avi", "vp9 webm"])
def test_pixels_are_those_of_a_full_decode(name, videos):
    data, count = videos(name)
    with av.open(io.BytesIO(data)) as container:
        whole = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with open_video(data) as reader:
        asked = [count - 1, 3, 3, 0, count // 2]
        assert np.array_equal(reader.read(asked), whole[asked])


def test_a_thousand_random_reads_are_identical(videos):
    data, count = videos("h264 open groups")
    rng = random.Random(0)
    with open_video(data) as reader:
        whole = reader.read(range(count))
        for _ in range(1000):
            asked = [rng.randrange(count) for _ in range(2)]
            assert np.array_equal(reader.read(asked), whole[asked])


def test_several_decoder_threads_give_the_same_pixels(videos):
    data, count = videos("h264 open groups")
    with open_video(data) as one, open_video(data, threads=2) as two:
        assert np.array_equal(one.read(range(count)), two.read(range(count)))


def test_the_decoder_has_one_thread_unless_told_otherwise(videos, monkeypatch):
    containers, original = [], av.open
    monkeypatch.setattr(
        av, "open", lambda *args, **kwargs: containers.append(original(*args, **kwargs)) or containers[-1]
    )
    with open_video(videos("mpeg4 avi")[0]):
        assert containers[0].streams.video[0].codec_context.thread_count == 1


def test_size_rate_and_shape(videos):
    with open_video(videos("h264 closed groups")[0]) as reader:
        assert (reader.height, reader.width, reader.fps) == (32, 64, 25.0)
        assert reader.read([]).shape == (0, 32, 64, 3)
        assert reader.read(np.array([5, 1])).dtype == np.uint8


@pytest.fixture
def decoded(monkeypatch):
    """Every frame that a decoder put out."""
    frames_out, original = [], frames._decode
    monkeypatch.setattr(
        frames, "_decode", lambda *args: (frames_out.append(frame) or frame for frame in original(*args))
    )
    return frames_out


# Of IBBBP..., the first and last B-picture of three, unless asked for; of IBBP..., both of two.
@pytest.mark.parametrize("name", ["h264 closed groups", "h264 transport stream", "h264 variable rate"])
def test_pictures_that_nothing_is_made_from_are_left_out(name, videos, decoded, either_way):
    data, count = videos(name)
    with open_video(data) as reader:
        whole = reader.read(range(count))
        del decoded[:]
        assert np.array_equal(reader.read([count - 1]), whole[[count - 1]])  # the current one
        assert np.array_equal(reader.read([0, count - 2]), whole[[0, count - 2]])
        assert len(decoded) <= 0.7 * count
        assert np.array_equal(
            reader.read([count - 1]), whole[[count - 1]]
        )  # nothing after what was asked for is
        assert len(decoded) <= 0.7 * count + 1


@pytest.mark.parametrize("name", ["h264 avi", "h264 closed groups"])
def test_frames_are_counted_where_times_do_not_tell_what_the_decoder_puts_out(
    name, videos, decoded, monkeypatch
):
    """As in AVI, whose packets state the order of decoding; and in a file that is made to state wrong times here."""
    data, count = videos(name)
    with open_video(data) as reader:
        whole = reader.read(range(count))
    if name != "h264 avi":
        original = frames._numbers
        turned = lambda *args: dict(zip(original(*args), reversed(range(count)), strict=True))  # noqa: E731
        monkeypatch.setattr(frames, "_numbers", turned)
    with open_video(data) as reader:
        del decoded[:]
        asked = [count - 1, 3]
        assert np.array_equal(reader.read(asked), whole[asked])
        assert reader._numbers is None and len(decoded) >= count - 1


def test_only_frames_asked_for_are_converted_and_decoding_stops(videos, decoded):
    with open_video(videos("mpeg4 avi")[0]) as reader:
        converted, picture = [], reader._picture
        reader._picture = lambda frame: converted.append(frame) or picture(frame)
        reader.read([9, 2, 9])
        assert (len(converted), len(decoded)) == (2, 10)
        reader.read([12])
        assert (len(converted), len(decoded)) == (3, 13)


@pytest.mark.parametrize("asked", [[-1], [0.5], [[0, 1]], ["0"], [True]])
def test_frame_numbers_are_checked(asked, videos):
    with open_video(videos("mjpeg avi")[0]) as reader:
        with pytest.raises(ValueError, match="frame"):
            reader.read(asked)


# ---- rotation: how an upright picture is stored, and the display matrix a, b, c, d that undoes it


@pytest.mark.parametrize(
    ("store", "matrix"),
    [
        (
            lambda upright: np.rot90(upright, 1),
            (0, 1, -1, 0),
        ),  # a phone held upright: shown a quarter turn clockwise
        (lambda upright: np.rot90(upright, 2), (-1, 0, 0, -1)),
        (lambda upright: np.rot90(upright, 3), (0, -1, 1, 0)),
        (lambda upright: upright[:, ::-1], (-1, 0, 0, 1)),
        (lambda upright: upright[::-1], (1, 0, 0, -1)),
        (lambda upright: upright.swapaxes(0, 1), (0, 1, 1, 0)),
        (lambda upright: np.rot90(upright, 2).swapaxes(0, 1), (0, -1, -1, 0)),
    ],
    ids=["90", "180", "270", "mirrored", "upside down", "transposed", "transposed the other way"],
)
def test_rotated_files_come_out_upright(store, matrix, encode, numbered_picture, read_numbers):
    a, b, c, d = (value * QUARTER_TURN for value in matrix)
    pictures = [np.ascontiguousarray(store(numbered_picture(number))) for number in range(10, 22)]
    data = encode(
        "mp4", "libx264", pictures, options={"bf": "2"}, display_matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30)
    )
    with open_video(data) as reader:
        assert (reader.height, reader.width) == (32, 64)
        assert read_numbers(reader.read([0, 11, 4])) == [10, 21, 14]


def test_a_picture_turned_by_its_exif_tag_comes_out_upright():
    image = pytest.importorskip("PIL.Image").new("RGB", (64, 32))
    exif, file = image.getexif(), io.BytesIO()
    exif[0x0112] = 6  # orientation: shown a quarter turn clockwise
    image.save(file, "jpeg", exif=exif)
    with open_video(file.getvalue()) as reader:
        assert (reader.height, reader.width) == (64, 32)


# ---- what the header says, and what is there


def avi_with_header_count(data: bytes, count: int) -> bytes:
    """The same AVI, with another number of frames in the stream header (dwLength)."""
    place = data.index(b"strh") + 8 + 32
    return data[:place] + count.to_bytes(4, "little") + data[place + 4 :]


@pytest.mark.parametrize(
    ("promised", "damage"),
    [(40, ""), (41, ""), (90, "the header promises 90 frames, the file holds 40"), (1, "")],
)
def test_the_number_of_frames_is_not_the_header_s(promised, damage, videos, read_numbers):
    data = avi_with_header_count(videos("mpeg4 avi")[0], promised)
    with open_video(data) as reader:
        assert (reader.num_frames, reader.damage) == (40, damage)
        assert read_numbers(reader.read([39])) == [39]


def test_frames_cut_away_by_an_edit_list_do_not_count(numbered, read_numbers):
    data = numbered(
        "mp4",
        "libx264",
        40,
        shift=10,
        options={"g": "12", "bf": "2"},
        container_options={"avoid_negative_ts": "disabled"},
    )
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].frames == 40
    with open_video(data) as reader:
        assert (reader.num_frames, reader.damage) == (30, "")
        assert read_numbers(reader.read(range(30))) == list(range(10, 40))


def test_divx_delay_packets_do_not_count(videos):
    """DivX in AVI marks the delay of B-frames by packets of one byte, as in all files of HMDB51."""
    data, _ = videos("mpeg4 avi")
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        packet = next(container.demux(stream))
        assert frames._shows_frame(packet)
        delay = av.Packet(b"\x7f")
        delay.stream = stream
        assert not frames._shows_frame(delay)


def test_invisible_vp8_pictures_do_not_count(videos):
    data, _ = videos("vp8 webm")
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        packet = next(container.demux(stream))
        assert frames._shows_frame(packet)
        hidden = av.Packet(bytes([bytes(packet)[0] & ~0x10]) + bytes(packet)[1:])
        hidden.stream = stream
        assert not frames._shows_frame(hidden)


def test_a_truncated_file_says_so_and_gives_what_it_has(cut_mp4, read_numbers, either_way, opened):
    with open_video(cut_mp4) as reader:
        assert reader.damage == f"the header promises 40 frames, the file holds {reader.num_frames}"
        promised = reader.num_frames
        with pytest.raises(EndOfVideo, match="ends after") as caught:
            reader.read([2, promised - 1])
        count = caught.value.num_frames
        assert count == reader.num_frames < promised
        assert read_numbers(reader.read([0, count - 2, 5])) == [0, count - 2, 5]
        with pytest.raises(EndOfVideo):
            reader.read([count])
        with pytest.raises(EndOfVideo):
            reader.read([count])
        # The last P frame is there, the B frames before it are cut off.
        assert read_numbers(reader.read(range(count))) == [*range(count - 1), count]
    assert len(opened) == 1


def test_a_truncated_webm_says_so(numbered, read_numbers):
    data = numbered("webm", "libvpx-vp9", 60, options={"cpu-used": "8", "deadline": "realtime"})
    with open_video(data[: len(data) // 2]) as reader:
        assert reader.damage.startswith("the header promises 2.40 seconds, the file holds")
        assert 0 < reader.num_frames < 48
        assert read_numbers(reader.read(range(reader.num_frames))) == list(range(reader.num_frames))


def test_a_decoder_error_in_the_middle_spares_the_frames_before_it(numbered, read_numbers, either_way):
    data = bytearray(numbered("mp4", "libx264", 40, options={"bf": "0", "threads": "1"}))
    with av.open(io.BytesIO(data)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    with open_video(bytes(data)) as reader:
        for _ in range(2):
            with pytest.raises(UnreadableVideo, match=r"unreadable after \d+ frames") as caught:
                reader.read([3, 39])
            assert not isinstance(caught.value, EndOfVideo)
        assert read_numbers(reader.read([7, 3])) == [7, 3]


@pytest.mark.parametrize("container", ["h264", "mpegts"])
def test_frames_of_another_size_are_scaled_to_the_first(container, encode):
    grey = [np.full((32, 64, 3), value, np.uint8) for value in (40, 80)]
    large = [np.full((64, 96, 3), value, np.uint8) for value in (120, 160)]
    data = encode(container, "libx264", grey) + encode(container, "libx264", large)
    with open_video(data) as reader:
        assert reader.read(range(4)).shape == (4, 32, 64, 3)
        assert np.abs(reader.read(range(4)).mean(axis=(1, 2, 3)) - [40, 80, 120, 160]).max() < 4


def test_colours_that_cannot_be_converted(encode, numbered_picture):
    plain = encode("h264", "libx264", [numbered_picture(1)])
    with av.open(io.BytesIO(plain)) as container:
        retag = av.BitStreamFilterContext("h264_metadata=matrix_coefficients=14", container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        data = b"".join(bytes(out) for packet in [*packets, None] for out in retag.filter(packet))
    with open_video(data) as reader, pytest.raises(UnreadableVideo, match="cannot be turned into RGB"):
        reader.read([0])


def test_a_closed_reader_says_so(videos):
    with open_video(videos("mjpeg avi")[0]) as reader:
        pass
    with pytest.raises(ValueError, match="this reader is closed"):
        reader.read([0])


class TripsAtTheEnd:
    """A container that fails after its last packet, as in PyAV 18 if a stream appeared on the way."""

    def __init__(self, container: av.container.InputContainer):
        self._container = container

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)

    def demux(self, stream: av.VideoStream):
        yield from (packet for packet in self._container.demux(stream) if packet.size)
        raise IndexError("list index out of range")


def test_a_stream_that_appears_on_the_way(videos, monkeypatch, read_numbers, either_way):
    original = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: TripsAtTheEnd(original(*args, **kwargs)))
    with open_video(videos("mpeg2 program stream")[0]) as reader:
        assert (reader.num_frames, reader.damage) == (40, "")
        assert read_numbers(reader.read([39, 2])) == [39, 2]
