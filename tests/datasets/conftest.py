"""Videos whose frames carry their own number: 8 black or white blocks, read back from lossy pictures."""

import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

HEIGHT, WIDTH, BLOCK = 32, 64, 16


def numbered_picture(number: int) -> np.ndarray:
    """uint8 (32, 64, 3): bit b of the number is the block in row b // 4, column b % 4."""
    bits = (number >> np.arange(8)) & 1
    grey = np.kron(bits.reshape(2, 4), np.full((BLOCK, BLOCK), 255)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def read_numbers(frames: np.ndarray) -> list[int]:
    """The numbers drawn in upright frames, uint8 (N, 32, 64, 3)."""
    assert frames.dtype == np.uint8 and frames.shape[1:] == (HEIGHT, WIDTH, 3)
    centres = frames[:, BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 1].reshape(len(frames), 8)
    assert ((centres < 80) | (centres > 175)).all(), "blocks are neither black nor white"
    return ((centres > 127) << np.arange(8)).sum(axis=1).tolist()


def encode(
    container_format: str,
    codec: str,
    pictures: Sequence[np.ndarray],
    *,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    times: Sequence[int] | None = None,
    shift: int = 0,
    display_matrix: Sequence[int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A video file at 25 frames a second; `times` and `shift` (to earlier times) count 25ths of a second."""
    with tempfile.NamedTemporaryFile() as file:  # a name, because "faststart" opens the file a second time
        with av.open(
            file.name, "w", format=container_format, options=dict(container_options or {})
        ) as container:
            container.metadata.update(metadata or {})
            stream = container.add_stream(codec, rate=25, options=dict(options or {}))
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.set_display_matrix(display_matrix)
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number if times is None else times[number]
                _mux(container, stream.encode(frame), shift)
            _mux(container, stream.encode(), shift)
        return Path(file.name).read_bytes()


def _mux(container: av.container.OutputContainer, packets: list[av.Packet], shift: int) -> None:
    for packet in packets:
        packet.pts -= int(shift / (25 * packet.time_base))
        packet.dts -= int(shift / (25 * packet.time_base))
        container.mux(packet)


@pytest.fixture(scope="session")
def numbered() -> Callable[..., bytes]:
    """(container format, codec, number of pictures, options of `encode`) → the bytes of a numbered video."""

    def make(container_format: str, codec: str, num_pictures: int, **kwargs: object) -> bytes:
        pictures = [numbered_picture(number) for number in range(num_pictures)]
        return encode(container_format, codec, pictures, **kwargs)

    return make


@pytest.fixture(scope="session", name="encode")
def _encode() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session", name="numbered_picture")
def _numbered_picture() -> Callable[[int], np.ndarray]:
    return numbered_picture


@pytest.fixture(scope="session", name="read_numbers")
def _read_numbers() -> Callable[[np.ndarray], list[int]]:
    return read_numbers


@pytest.fixture(scope="session")
def cut_mp4(numbered) -> bytes:
    """The index in front promises 40 frames; the last packet there is incomplete and not decodable."""
    data = numbered("mp4", "libx264", 40, container_options={"movflags": "faststart"}, options={"bf": "2"})
    with av.open(io.BytesIO(data)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    return data[: places[24] + 9]


@pytest.fixture(scope="session")
def write_tar():
    """A function from a path and name → bytes to that path, where there is a tar of them now."""

    def write(path: Path, content: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
        with tarfile.open(path, "w", format=form) as tar:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), 1_700_000_000
                tar.addfile(info, io.BytesIO(data))
        return path

    return write
