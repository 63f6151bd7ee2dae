"""benchmarks/soak.py: what it calls a leak, and that a worker has none; longer if slow."""

import sys

import pytest
import soak
from soak import Look, Use


def looks(*, mb=0.0, files=0, pid=7):
    """Twenty looks, 100 decodes apart, with so many MB and files more after each in the second half."""
    late = [max(0, number - 10) for number in range(20)]
    return [
        Look(
            100 * number,
            number,
            Use(pid + late[number] * (pid != 7), 200 + mb * more, 20 + files * more),
            Use(1, 300, 30),
        )
        for number, more in enumerate(late)
    ]


def test_slopes_and_files():
    assert soak.faults(looks()) == []
    assert soak.slope(looks(mb=0.25), "worker") == pytest.approx(2.5)  # 0.25 MB per 100 decodes
    assert soak.slope(looks(mb=0.25), "main") == pytest.approx(0, abs=1e-6)
    assert soak.faults(looks(mb=0.09)) == [] and soak.slope(looks(mb=0.09), "worker") == pytest.approx(0.9)
    assert soak.faults(looks(mb=0.11)) == ["worker: 1.10 MB more per 1,000 decodes"]
    assert soak.faults(looks(files=1)) == ["worker: 5 more open files"]  # in the last five looks at least
    assert soak.faults(looks(pid=8)) == ["the worker was replaced"]


def test_the_table_has_the_first_and_the_last_look():
    lines = soak.table(looks(mb=1)).splitlines()
    assert lines[0] == "| decodes | failed | worker, MB | files | main process, MB | files |"
    assert lines[2] == "| 0 | 0 | 200.0 | 20 | 300.0 | 30 |" and len(lines) == 14
    assert lines[-1] == "| 1900 | 19 | 209.0 | 20 | 300.0 | 30 |"


@pytest.mark.skipif(sys.platform != "linux", reason="open files and memory are looked up in /proc")
def test_a_worker_reads_sound_and_damaged_videos(tmp_path):
    assert soak.make_list(tmp_path, seed=0) == 80
    found = list(soak.soak(tmp_path, 200))
    assert found[-1].decodes >= 200 and found[-1].failed > 0
    assert soak.more_files(found, "worker") == soak.more_files(found, "main") == 0
    assert len({look.worker.pid for look in found}) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="open files and memory are looked up in /proc")
def test_a_worker_keeps_its_memory_and_its_files(tmp_path):
    soak.make_list(tmp_path, seed=0)
    found = list(soak.soak(tmp_path, 8000))
    assert soak.faults(found) == [], soak.table(found)
