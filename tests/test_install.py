"""An installed copy works outside the checkout, without PYTHONPATH."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, cwd):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(folder with python and slowfast, empty folder to work in): a new environment with this package in it.

    An environment made with --system-site-packages sees the packages of the base Python, not those of the
    environment that makes it, and it is in the latter that torch is. A .pth file adds that folder, at the end
    of the path, so what is installed here comes first. The build runs on a copy, so that the checkout stays
    clean, and without isolation, so that nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "slowfast", source / "slowfast", ignore=shutil.ignore_patterns("__pycache__"))

    environment = folder / "venv"
    options = ("--system-site-packages", "--without-pip")
    made = run(sys.executable, "-m", "venv", *options, environment, cwd=folder)
    assert made.returncode == 0, made.stderr
    python = environment / "bin" / "python"
    own = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    ).stdout.strip()
    (Path(own) / "packages-of-the-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")

    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    options = ("--no-deps", "--no-build-isolation", "--ignore-installed", "--no-index")
    done = run(*pip, "install", *options, source, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    empty = folder / "elsewhere"
    empty.mkdir()
    return environment / "bin", empty


def test_the_package_is_found_where_it_was_installed(installed):
    programs, elsewhere = installed
    code = (
        "import slowfast, slowfast.config as c; print(slowfast.__file__); print(c.get_cfg().MODEL.MODEL_NAME)"
    )
    done = run(programs / "python", "-c", code, cwd=elsewhere)
    place, model = done.stdout.split()
    assert str(programs.parent) in place and str(ROOT) not in place
    assert model == "Uniformer"


def test_every_module_is_packed(installed):
    programs, elsewhere = installed
    done = run(programs / "python", "-c", "import slowfast; print(slowfast.__path__[0])", cwd=elsewhere)
    place = Path(done.stdout.strip())
    packed = {path.relative_to(place) for path in place.rglob("*.py")}
    assert packed == {path.relative_to(ROOT / "slowfast") for path in (ROOT / "slowfast").rglob("*.py")}


def test_the_command_explains_itself_and_reads_a_recipe(installed):
    programs, elsewhere = installed
    done = run(programs / "slowfast", "run", "--help", cwd=elsewhere)
    assert done.returncode == 0 and "--cfg FILE" in done.stdout, done.stderr
    (elsewhere / "recipe.yaml").write_text("TRAIN:\n  BATCHSIZE: 3\n")
    done = run(programs / "slowfast", "run", "--cfg", "recipe.yaml", cwd=elsewhere)
    assert done.returncode == 2
    assert "recipe.yaml:2: unknown key TRAIN.BATCHSIZE; did you mean TRAIN.BATCH_SIZE?" in done.stderr


def test_torch_is_seen_from_there(installed):
    programs, elsewhere = installed
    done = run(
        programs / "python",
        "-c",
        "import importlib.util as u; print(u.find_spec('torch').origin)",
        cwd=elsewhere,
    )
    assert done.returncode == 0, done.stderr
