"""Copies to the device: as they are on the CPU; in the right order of streams on CUDA, here without one."""

import contextlib

import pytest
import torch

from slowfast.utils.device_copy import DeviceCopy


def test_on_the_cpu_nothing_is_copied():
    tensors = torch.arange(3), torch.ones(2)
    assert all(
        ours is given for ours, given in zip(DeviceCopy(torch.device("cpu"))(*tensors), tensors, strict=True)
    )


class Streams:
    """Stands for torch.cuda: writes down what is asked of it."""

    def __init__(self):
        self.log = []

    def Stream(self, device):
        return "side"

    @contextlib.contextmanager
    def stream(self, stream):
        self.log.append(f"on {stream}")
        yield
        self.log.append("back")

    def current_stream(self, device):
        return self

    def wait_stream(self, stream):
        self.log.append(f"wait for {stream}")


class Given:
    """Stands for a tensor in page-locked memory, and for its copy."""

    def __init__(self, log):
        self.log = log

    def to(self, device, non_blocking):
        self.log.append(f"copy to {device}, {'go on' if non_blocking else 'wait'}")
        return self

    def record_stream(self, stream):
        self.log.append("keep")


def test_copies_run_on_a_side_stream_that_later_kernels_wait_for(monkeypatch):
    streams = Streams()
    monkeypatch.setattr(torch, "cuda", streams)
    DeviceCopy(torch.device("cuda", 0))(Given(streams.log), Given(streams.log))
    copies = ["copy to cuda:0, go on"] * 2
    assert streams.log == ["on side", *copies, "back", "wait for side", "keep", "keep"]


@pytest.mark.gpu
def test_copies_on_a_gpu_are_equal_and_usable_at_once():
    copy = DeviceCopy(torch.device("cuda", torch.cuda.current_device()))
    for number in range(20):
        clips = torch.full((64, 1024, 256), number, dtype=torch.uint8).pin_memory()
        labels = torch.arange(64).pin_memory()
        on_device = copy(clips, labels)
        assert (on_device[0].float() + 1).mean().item() == number + 1
        assert torch.equal(on_device[1].cpu(), labels)
