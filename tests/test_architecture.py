"""Who may import whom, and what has one owner. When a line here fails, the code moved away from the plan."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "tools": {"cli", "config", "datasets", "engine", "utils"},
    "cli": {"benchmarking", "commands", "config", "engine", "reporting", "submission", "utils"},
    "commands": {"cli", "config", "datasets", "diagnosis", "engine", "finetuning", "inference", "reporting", "utils"},
    "diagnosis": {"config", "datasets", "engine", "utils"},
    "finetuning": {"config", "datasets", "engine", "models", "utils"},
    "benchmarking": {"config", "datasets", "engine", "models", "utils"},
    "engine": {"datasets", "models", "utils"},
    "inference": {"config", "datasets", "engine", "models", "utils"},
    "datasets": {"utils"},
    "models": {"utils"},
    "reporting": {"config", "datasets", "engine", "utils"},
    "submission": {"config", "utils"},
    "config": set(),
    "utils": set(),
}
SCRIPTS = [path for path in (ROOT / "tools").glob("*.py") if path.name != "entry.py"]  # it is what they begin with
PACKAGES = tuple(sorted(MAY_IMPORT.keys() - {"cli", "tools"}))


def module_name(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / "slowfast").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
TOOLS = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tools").glob("*.py")
}


def imports(tree):
    """Full names that a module imports anywhere in it: modules, and members as module.member."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_imported(name):
    """Modules of ours that a module of ours imports, at any place in it."""
    for imported in imports(TREES[name]):
        while imported and imported not in TREES:
            imported = imported.rpartition(".")[0]
        if imported and imported != "slowfast":
            yield imported


def home(name):
    """The package, or single file, that a module of ours belongs to: slowfast.engine.train -> engine."""
    return name.split(".")[1] if name.startswith("slowfast.") else name.split(".")[0]


def dotted(tree):
    """Every dotted name that is used in a module, such as torch.save, its own imports spelled out."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)):
            first, *rest = ast.unparse(node).split(".")
            yield ".".join([aliases.get(first, first), *rest])


def users(*names):
    """Modules that import or use one of these names, or something below it."""
    return {
        module
        for module, tree in TREES.items()
        for used in (*imports(tree), *dotted(tree))
        if any(used == name or used.startswith(f"{name}.") for name in names)
    }


def test_there_is_something_to_look_at():
    assert {home(name) for name in TREES if name != "slowfast"} == {*PACKAGES, "cli"}


@pytest.mark.parametrize("name", sorted(TREES))
def test_imports_go_one_way(name):
    if name == "slowfast":
        assert set(modules_imported(name)) == {"slowfast.inference.build"}  # for slowfast.load, when it is asked for
        return
    foreign = {home(imported) for imported in modules_imported(name)} - {home(name)}
    assert foreign <= MAY_IMPORT[home(name)], f"{name} imports from {foreign - MAY_IMPORT[home(name)]}"


def test_tools_import_what_they_may_and_nobody_imports_them():
    for name, tree in TOOLS.items():
        ours = {imported.split(".")[1] for imported in imports(tree) if imported.startswith("slowfast.")}
        assert ours <= MAY_IMPORT["tools"], name
    for name, tree in TREES.items():
        assert not {imported.split(".")[0] for imported in imports(tree)} & {"tools", "tests"}, name


def test_there_is_no_cycle():
    # A package stands for its __init__ alone here, whose imports are lazy and lead to where its names live.
    edges = {
        name: {other for other in modules_imported(name) if SOURCES[other].name != "__init__.py"}
        for name, path in SOURCES.items()
        if path.name != "__init__.py"
    }
    done = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in edges[name]:
                visit(other, [*path, name])
            done.add(name)

    for name in edges:
        visit(name, [])


READ_AND_WRITE = ("frames", "frame_stream", "video_writer")  # by number, forward once; and into a file
PLAIN_LOADER = "slowfast.benchmarking.loader"  # the published way of doing all that, to measure ours against


@pytest.mark.parametrize(
    ("names", "owners"),
    [
        (("torch.distributed",), {"slowfast.utils.distributed"}),
        (("torch.save", "torch.load"), {"slowfast.utils.checkpoint"}),
        (("av",), {*(f"slowfast.datasets.{name}" for name in READ_AND_WRITE), PLAIN_LOADER}),
        (("torch.utils.tensorboard", "tensorboard"), {"slowfast.engine.monitor"}),
        (("math.cos", "torch.optim.lr_scheduler"), {"slowfast.engine.schedule"}),
        (("submitit",), {"slowfast.submission.cluster", "slowfast.submission.task"}),
        (("slowfast.datasets.augment",), {"slowfast.datasets.pipeline", PLAIN_LOADER}),
    ],
)
def test_single_owners(names, owners):
    found = users(*names)
    assert found <= owners, f"{sorted(found - owners)} use {names}"
    assert found, f"nobody uses {names} any more: is this rule about the right name?"


def test_only_the_edge_reads_the_config():
    readers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.arg == "cfg" and home(name) != "config"
    }
    assert readers == {
        "slowfast.benchmarking.command",
        "slowfast.cli",
        "slowfast.datasets.build",
        "slowfast.models.build",
        "slowfast.engine.build",
        "slowfast.engine.check_data",
        "slowfast.engine.reproduce",
        "slowfast.engine.test",
        "slowfast.engine.train",
        "slowfast.finetuning.story",
        "slowfast.finetuning.trial",
        "slowfast.inference.build",
        "slowfast.reporting.build",
        "slowfast.reporting.report",
    }


GLOBAL_STREAMS = re.compile(
    r"(torch\.manual_seed|torch\.cuda\.manual_seed\w*|torch\.(cuda\.)?set_rng_state|random\.\w+"
    r"|numpy\.random\.(seed|rand|randn|randint|random|uniform|normal|beta|permutation|shuffle|choice))$"
)


def test_no_global_random_stream_is_read_or_set():
    found = {
        f"{name}: {used}"
        for name, tree in TREES.items()
        for used in dotted(tree)
        if GLOBAL_STREAMS.match(used.replace("np.", "numpy.", 1)) and not used.startswith("random.Random")
    }
    drawing = re.compile(r"torch\.(rand|randn|randint|randperm|normal|bernoulli|multinomial)$")
    found |= {
        f"{name}:{call.lineno} draws without a generator"
        for name, tree in TREES.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and drawing.match(ast.unparse(call.func))
        and "generator" not in {keyword.arg for keyword in call.keywords}
    }
    assert not found


def test_choices_of_the_config_are_those_of_the_code():
    """Stated twice because the config imports nothing of ours."""
    from slowfast.config.checks import CHOICES
    from slowfast.datasets import rand_augment, sampling, transforms
    from slowfast.engine import metrics, optimizer, precision, schedule
    from slowfast.models import losses, ops, tuning

    code = {
        "MODEL.DWCONV": (tuning.AUTO, *ops.CONVOLUTION_WAYS),
        "MODEL.LINEAR": (tuning.AUTO, *ops.LINEAR_WAYS),
        "MODEL.ATTENTION": (tuning.AUTO, *ops.ATTENTION_WAYS),
        "TRAIN.MIXED_PRECISION": precision.MODES,
        "TEST.MIXED_PRECISION": precision.MODES,
        "DATA.SAMPLING_UNIT": sampling.SAMPLING_UNITS,
        "DATA.FRAME_ORDER": sampling.FRAME_ORDERS,
        "DATA.ENSEMBLE_METHOD": metrics.ENSEMBLE_METHODS,
        "AUG.INTERPOLATION": rand_augment.INTERPOLATIONS,
        "AUG.RE_MODE": transforms.ERASE_MODES,
        "MODEL.LOSS_FUNC": losses.LOSSES,
        "SOLVER.LR_POLICY": schedule.POLICIES,
        "SOLVER.OPTIMIZING_METHOD": optimizer.METHODS,
    }
    assert {key: set(CHOICES[key]) for key in code} == {key: set(names) for key, names in code.items()}


def test_importing_a_package_imports_none_of_its_modules():
    code = "import sys\n" + "".join(f"import slowfast.{package}\n" for package in PACKAGES)
    code += (
        "print(*sorted(name for name in sys.modules if name.split('.')[0] in ('slowfast', 'torch', 'av')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["slowfast", *(f"slowfast.{package}" for package in PACKAGES)]


# Seconds to import, and needed by some runs only, or by none.
HEAVY = (
    "fvcore.nn", "matplotlib", "pandas", "scipy", "sklearn", "tensorboard", "tensorflow", "torch._dynamo",
    "torch.utils.tensorboard", "torchvision",
)  # fmt: skip


def test_stories_and_tools_add_little_to_the_import_of_torch():
    stories = [f"slowfast.engine.{name}" for name in ("train", "test", "reproduce", "zoo")]
    prepared = ["slowfast.cli", "slowfast.datasets.preparation.prepare"]
    code = f"import sys, torch\nbefore = set(sys.modules)\nimport {', '.join(stories + prepared)}\n"
    code += f"print(*sorted(set({HEAVY!r}) & (set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_workers_of_a_preparation_do_without_torch():
    """One of them runs for each processor, and each would take its 300 MB."""
    modules = [f"slowfast.datasets.preparation.{name}" for name in ("prepare", "sharding")]
    modules += ["slowfast.datasets.checking.decoding", "slowfast.utils.isolation", "slowfast.cli"]
    code = f"import sys, {', '.join(modules)}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("config", ["get_cfg", "load_cfg", "resolve"]),
        ("datasets", ["build_loader", "DATASET_REGISTRY"]),
        ("models", ["build_model", "MODEL_REGISTRY"]),
    ],
)
def test_packages_hand_out_their_public_names(package, names):
    module = __import__(f"slowfast.{package}", fromlist=names)
    assert all(getattr(module, name) is not None for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = module.nonsense


def project_files():
    """What is, or would be, in the repository: text files that git knows or does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in (".npz", ".mp4"):
            yield name, path.read_text(encoding="utf-8", errors="replace")


MACHINE_PATH = re.compile(r"(?<![\w./~{$-])/(home|root|work|mnt|Users|scratch|data\d*)/\w")
OUTSIDE = re.compile(r"(?<![\w.])\.\./(shared|spec|goldens|clips|minidata)\b")


def test_no_file_names_a_place_of_one_machine():
    found = [name for name, text in project_files() if MACHINE_PATH.search(text)]
    assert not found


def test_only_ci_names_a_folder_beside_the_checkout():
    found = {name for name, text in project_files() if OUTSIDE.search(text)}
    assert found <= {".ci/run"}


def test_functions_and_files_stay_short():
    for name, path in SOURCES.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, f"{name} is too long: split it"
        for node in ast.walk(TREES[name]):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                assert length <= 70, f"{name}.{node.name} has {length} lines: tell it in steps"


@pytest.mark.skipif(os.name == "nt", reason="files have no executable bit there")
@pytest.mark.parametrize("name", [".ci/run", *sorted(f"tools/{path.name}" for path in SCRIPTS)])
def test_scripts_can_be_started(name):
    assert os.access(ROOT / name, os.X_OK)
