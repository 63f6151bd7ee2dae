"""The probe of 3D convolution finds wrong values and too much memory."""

import pytest
import torch
import torch.nn.functional as F

from slowfast.diagnosis import convolution

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_this_machine_convolves_rightly(dtype):
    found = convolution.probe(CPU, dtype)
    assert len(found) == 3 and not any(one.to_do for one in found), found


def test_wrong_values_are_found(monkeypatch):
    right = F.conv3d

    def wrong(values, weight, **options):
        output = right(values, weight, **options)
        return output * 1.01 if values.dtype == torch.float32 else output

    monkeypatch.setattr(convolution.F, "conv3d", wrong)
    assert all("the values are wrong" in one.to_do for one in convolution.probe(CPU, None))


def test_values_that_are_not_numbers_are_wrong(monkeypatch):
    monkeypatch.setattr(convolution, "_run", lambda *given: (float("nan"), None))
    assert all("the values are wrong" in one.to_do for one in convolution.probe(CPU, None))


def test_memory_out_of_proportion_is_found(monkeypatch):
    monkeypatch.setattr(convolution, "_run", lambda *given: (1e-6, 17.0))
    assert all(
        "far too much memory" in one.to_do and "17.0 x" in one.said for one in convolution.probe(CPU, None)
    )


@pytest.mark.parametrize(
    ("version", "cudnn", "bad"),
    [
        ("2.9.0+cu128", 91002, True),
        ("2.9.0", 91500, False),
        ("2.9.1+cu128", 91500, False),
        ("2.8.0", 90800, True),
        ("2.8.0", 91100, False),
        ("2.6.0+cu124", 90100, False),
    ],
)
def test_known_bad_pairs_are_named(version, cudnn, bad):
    found = convolution.known(version, cudnn)
    assert bool(found.to_do) == bad
    assert convolution.known(version, None) is None
