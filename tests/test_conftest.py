"""Tests that cannot run here are reported, not hidden."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_marked_tests_are_reported_as_not_run(tmp_path):
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\n    slurm: x\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_gpu(): pass\n@pytest.mark.slurm\ndef test_slurm(): pass\n"
    )
    # Stand-ins, so that the outcome is the same on a machine with a GPU and takes no import of torch.
    (tmp_path / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: False)\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "."]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu: 1 test(s) NOT RUN, needs a CUDA device, and torch finds none" in done.stdout
    assert "slurm: 1 test(s) NOT RUN, needs a test cluster: SLOWFAST_TEST_SLURM is not set" in done.stdout
    assert "2 skipped" in done.stdout
