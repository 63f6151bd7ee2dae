"""Tests that cannot run here are reported, not hidden."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_marked_tests_are_reported_as_not_run(tmp_path):
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "screenshots.py", tmp_path / "tools")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\n    slurm: x\n    browser: x\n")
    marked = (f"@pytest.mark.{name}\ndef test_{name}(): pass\n" for name in ("gpu", "slurm", "browser"))
    (folder / "test_one.py").write_text("import pytest\n" + "".join(marked))
    # Stand-ins, so that the outcome is the same on a machine with a GPU and takes no import of torch.
    (tmp_path / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: False)\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "."]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu: 1 test(s) NOT RUN, needs a CUDA device, and torch finds none" in done.stdout
    assert "slurm: 1 test(s) NOT RUN, needs a test cluster: SLOWFAST_TEST_SLURM is not set" in done.stdout
    assert "browser: 1 test(s) NOT RUN, needs Chromium (apt-get install chromium), and none is found" in done.stdout
    assert "3 skipped" in done.stdout
