"""What is fit is OK, what is not says what to do."""

import os

import pytest
import torch

from slowfast import cli
from slowfast.datasets.frames import UnreadableVideo
from slowfast.diagnosis import machine
from slowfast.diagnosis.finding import Finding


def test_a_finding_is_a_line_or_two():
    assert str(Finding("video", "works")) == "  OK   video: works"
    assert str(Finding("video", "does not", "install av")).splitlines()[1].strip() == "-> install av"


def test_this_machine_decodes_what_it_writes():
    found = machine.decoders()
    assert len(found) == 3 and not any(one.to_do for one in found)
    assert "libx264 in mp4, 12 of 12 frames" in found[0].said


def test_a_decoder_that_fails_or_shows_other_frames_is_told(monkeypatch):
    def broken(path):
        raise UnreadableVideo("no decoder")

    monkeypatch.setattr(machine, "open_video", broken)
    assert all("no decoder" in one.said and "pip install av" in one.to_do for one in machine.decoders())

    class Black:
        num_frames = 12
        read = staticmethod(lambda numbers: torch.zeros(12, 8, 8, 3).numpy())

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    monkeypatch.setattr(machine, "open_video", lambda path: Black())
    assert all("come out wrong" in one.to_do for one in machine.decoders())


def test_shared_memory_of_a_container_is_too_small(monkeypatch, tmp_path):
    class Status:
        f_bavail, f_frsize = 64 * 2**20 // 4096, 4096

    monkeypatch.setattr(os, "statvfs", lambda folder: Status)
    assert "--shm-size" in machine.shared_memory().to_do
    monkeypatch.undo()
    assert machine.shared_memory(str(tmp_path / "none")) is None


def test_folders_that_cannot_be_used_are_told(tmp_path):
    assert (
        not machine.output_folder(tmp_path / "new" / "run").to_do
        or "make room" in machine.output_folder(tmp_path).to_do
    )
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in machine.output_folder(tmp_path / "file" / "run").to_do
    assert "is that the folder?" in machine.media_folder(tmp_path).to_do


def test_reading_is_measured_on_files_of_videos(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_bytes(bytes(10_000_000))
    (tmp_path / "notes.txt").write_bytes(bytes(10))
    (tmp_path / "0.mp4").rename(tmp_path / "0.M4V")  # any container that a preparation takes
    fast = machine.media_folder(tmp_path, clock=iter([0.0, *[0.1] * 100]).__next__)
    assert "400 MB/s, 40 files/s" in fast.said and not fast.to_do
    slow = machine.media_folder(tmp_path, clock=iter([0.0, *[1.9] * 100]).__next__)
    assert "21 MB/s" in slow.said and "shards" in slow.to_do


@pytest.mark.parametrize(
    ("environ", "asked", "said", "to_do"),
    [
        ({}, 1, "nothing but the shell", ""),
        ({"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}, 4, "torchrun, process 0 of 4", ""),
        ({"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}, 8, "torchrun", "ask for 8 processes: leave"),
        (
            {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "n[1-2]"},
            1,
            "job 7, 2 task(s) on n[1-2]",
            "",
        ),
    ],
)
def test_what_started_the_process_is_told(environ, asked, said, to_do):
    found = machine.launcher(environ, asked)
    assert said in found.said and to_do in found.to_do and bool(to_do) == bool(found.to_do)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_job_whose_gpus_torch_does_not_see_is_told():
    assert "does not see" in machine.launcher({"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "2"}, 1).to_do


def test_too_many_threads_are_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert "unset it" in machine.devices()[-1].to_do


def test_missing_packages_are_named_with_their_use():
    found = machine.optional({"nonsense_package": "does nothing", "json": "reads"})
    assert [one.said for one in found] == [
        "nonsense_package, which does nothing, is not installed",
        "json is there",
    ]


def test_the_command_says_what_to_do_and_its_status(capsys, tmp_path, debug_data):
    recipe = "configs/debug/uniformer_debug.yaml"
    words = ["doctor", "--cfg", str(cli_root() / recipe), "OUTPUT_DIR", str(tmp_path / "run")]
    cli.main([*words, "DATA.PATH_PREFIX", str(debug_data)])
    printed = capsys.readouterr().out
    assert "3D convolution: dense 3x3x3 in float32" in printed and "DATA.PATH_PREFIX" in printed
    assert cli.main([*words, "DATA.PATH_PREFIX", str(tmp_path)]) == 1
    assert "thing(s) to do" in capsys.readouterr().out
    assert cli.main(["doctor", "NUM_GPUS", "0"]) == 2
    assert "give it with --cfg" in capsys.readouterr().err


def cli_root():
    from pathlib import Path

    return Path(__file__).resolve().parents[2]
