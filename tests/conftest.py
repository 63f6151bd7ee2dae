"""What holds for all tests: those that need a GPU, a cluster or a browser are reported as not run without."""

import importlib.util
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
DEBUG_RECIPE = CONFIGS / "debug" / "uniformer_debug.yaml"
DEMO_RECIPE = CONFIGS / "demo" / "uniformer_motion.yaml"


def _no_cuda() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "needs a CUDA device, and torch finds none"


def _no_cluster() -> str | None:
    folder = os.environ.get("SLOWFAST_TEST_SLURM")
    return None if folder else "needs a test cluster: SLOWFAST_TEST_SLURM is not set"


def _load_screenshots():
    """tools/screenshots.py, which drives the browser."""
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "tools" / "screenshots.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names of their module
    spec.loader.exec_module(module)
    return module


def _no_browser() -> str | None:
    found = _load_screenshots().find_browser()
    return None if found else "needs Chromium (apt-get install chromium), and none is found"


def pytest_configure() -> None:
    """Measured operators are kept for the tests, not among those of the user."""
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="slowfast-tests-")


NEEDS = {"gpu": _no_cuda, "slurm": _no_cluster, "browser": _no_browser}
_not_run: dict[str, tuple[int, str]] = {}


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, missing in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = missing() if marked else None
        if reason:
            _not_run[marker] = (len(marked), reason)
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"not run: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker, (count, reason) in _not_run.items():
        terminalreporter.write_line(f"{marker}: {count} test(s) NOT RUN, {reason}", yellow=True)


@pytest.fixture(autouse=True)
def no_log_of_an_earlier_test():
    """A run in a test sends the log to a console that is gone after it."""
    yield
    root = logging.getLogger("slowfast")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def debug_data(tmp_path_factory) -> Path:
    """A folder with 24 + 8 + 16 made-up clips of 8 classes, their lists and class names."""
    from slowfast.datasets.synthetic import DatasetSettings, write_dataset

    folder = tmp_path_factory.mktemp("debug") / "data"
    settings = DatasetSettings(train_clips=3, val_clips=1, test_clips=2, min_size=40, max_size=48, frames=16)
    write_dataset(folder, settings, processes=1)
    return folder


@pytest.fixture(scope="session")
def trained_run(debug_data, tmp_path_factory) -> Path:
    """The OUTPUT_DIR of a run of the debug recipe, trained and tested, with 2 clips and 3 crops a video."""
    from slowfast.config import load_cfg
    from slowfast.engine.test import test
    from slowfast.engine.train import train

    folder = tmp_path_factory.mktemp("trained")
    where = ["DATA.PATH_TO_DATA_DIR", debug_data, "DATA.PATH_PREFIX", debug_data, "OUTPUT_DIR", folder]
    views = ["TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 3]
    cfg = load_cfg(DEBUG_RECIPE, [str(word) for word in (*where, *views, "NUM_THREADS", 1)])
    train(cfg)
    test(cfg)
    return folder


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> Path:
    """The OUTPUT_DIR of the demo, trained as `make demo` does: minutes on two cores, so for slow tests only."""
    from slowfast.config import load_cfg
    from slowfast.datasets.synthetic import DatasetSettings, write_dataset
    from slowfast.engine.train import train

    folder = tmp_path_factory.mktemp("demo")
    data = folder / "data"
    write_dataset(data, DatasetSettings())
    where = ["DATA.PATH_TO_DATA_DIR", data, "DATA.PATH_PREFIX", data, "OUTPUT_DIR", folder / "run"]
    train(load_cfg(DEMO_RECIPE, [str(word) for word in (*where, "TENSORBOARD.ENABLE", False)]))
    return folder / "run"


@pytest.fixture
def debug_options(debug_data, tmp_path) -> list[str]:
    """KEY VALUE pairs that the debug recipe needs: data, and an output folder of the test's own."""
    where = {
        "DATA.PATH_TO_DATA_DIR": debug_data,
        "DATA.PATH_PREFIX": debug_data,
        "OUTPUT_DIR": tmp_path / "run",
    }
    return [str(word) for pair in where.items() for word in pair] + ["NUM_THREADS", "1"]


@pytest.fixture
def debug_cfg(debug_options):
    """A function from further KEY, VALUE, ... to the loaded debug recipe."""
    from slowfast.config import load_cfg

    return lambda *pairs: load_cfg(DEBUG_RECIPE, [*debug_options, *pairs])


@pytest.fixture(scope="session")
def screenshots():
    """The module tools/screenshots.py."""
    return _load_screenshots()


@pytest.fixture(scope="session")
def golden_json():
    """A function from the name of a file in tests/golden to its content."""
    return lambda name: json.loads((Path(__file__).parent / "golden" / name).read_text())
