"""Shards give back what was written, need no pickle, and are known as damaged when they are."""

import json

import numpy as np
import pytest

from slowfast.inference import features
from slowfast.inference.feature_shards import DamagedShard, Shard, peek, read_shard, shard_path, write_shard
from slowfast.inference.video_features import VideoFeatures

FAILURES = [("gone.mp4", "no such file"), ("gone.mp4", "no such file")]


def made(name, clips, shape=(3, 5), dtype="float32"):
    rng = np.random.default_rng(len(name))
    values = rng.normal(size=(clips, *shape)).astype(dtype)
    frames = rng.integers(0, 99, (clips, 4), dtype=np.int32)
    return VideoFeatures(name, "3;17", values, frames, frames[:, 0] / 25, np.full(clips, np.nan))


@pytest.fixture(params=[".npz", ".parquet"])
def path(request, tmp_path):
    return tmp_path / f"shard{request.param}"


@pytest.mark.parametrize(("shape", "dtype"), [((3, 5), "float32"), ((1, 2, 2, 2, 5), "float16")])
def test_what_is_written_is_read(path, shape, dtype):
    videos = (made("a.mp4", 2, shape, dtype), made("b ü.mp4", 1, shape, dtype))
    write_shard(path, Shard(videos, FAILURES))
    found = read_shard(path)
    assert list(found.failures) == FAILURES
    for video, expected in zip(found.videos, videos, strict=True):
        assert (video.name, video.label) == (expected.name, expected.label)
        for key in ("features", "frames", "start_seconds", "end_seconds"):
            value, wanted = getattr(video, key), getattr(expected, key)
            assert value.dtype == wanted.dtype and np.array_equal(
                value, wanted, equal_nan=value.dtype.kind == "f"
            )
    head = peek(path)
    assert (head.num_videos, head.num_entries, list(head.failures)) == (2, 4, FAILURES)


def test_a_shard_may_hold_failures_alone(path):
    write_shard(path, Shard((), FAILURES))
    assert read_shard(path).videos == () and peek(path).num_entries == 2


def test_npz_needs_nothing_but_numpy(tmp_path):
    write_shard(tmp_path / "shard.npz", Shard((made("a.mp4", 2), made("b.mp4", 1)), []))
    with np.load(tmp_path / "shard.npz", allow_pickle=False) as arrays:
        assert arrays["features"].shape == (3, 3, 5) and arrays["clips_per_video"].tolist() == [2, 1]
        assert arrays["videos"].tolist() == ["a.mp4", "b.mp4"]


def test_parquet_has_a_row_for_each_clip(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    video = made("a.mp4", 2)
    write_shard(tmp_path / "shard.parquet", Shard((video,), []))
    rows = parquet.read_table(tmp_path / "shard.parquet").to_pylist()
    assert [row["video"] for row in rows] == ["a.mp4", "a.mp4"]
    assert np.allclose(rows[1]["features"], video.features[1].ravel())
    assert rows[1]["frames"] == video.frames[1].tolist()


def test_damage_is_noticed(path):
    write_shard(path, Shard((made("a.mp4", 2),), []))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"nonsense" * 20):
        path.write_bytes(content)
        for read in (peek, read_shard):
            with pytest.raises(DamagedShard, match="no whole shard"):
                read(path)


def test_clips_that_are_missing_are_noticed(tmp_path):
    path = tmp_path / "shard.npz"
    write_shard(path, Shard((made("a.mp4", 2),), []))
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, "features": content["features"][:1]})
    with pytest.raises(DamagedShard, match="1 clips where 2 belong"):
        peek(path)


def test_mean_of_a_video_is_over_all_but_channels():
    video = made("a.mp4", 2, (3, 2, 5), "float16")
    assert video.mean().dtype == np.float32
    assert np.allclose(video.mean(), video.features.astype(np.float32).reshape(12, 5).mean(axis=0), atol=1e-3)


def test_a_folder_without_features_or_with_some_of_them_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no features here"):
        features.read(tmp_path)
    (tmp_path / "features.json").write_text(json.dumps({"format": "npz", "num_shards": 2}))
    write_shard(shard_path(tmp_path, 0, "npz"), Shard((made("a.mp4", 2),), FAILURES))
    with pytest.raises(ValueError, match="1 of 2 shards are missing, the first is shard-00001.npz"):
        features.read(tmp_path)
    write_shard(shard_path(tmp_path, 1, "npz"), Shard((made("b.mp4", 1),), []))
    found = features.read(tmp_path)
    assert len(found) == 2 and [video.name for video in found] == ["a.mp4", "b.mp4"]
    assert found.failures == dict(FAILURES)
