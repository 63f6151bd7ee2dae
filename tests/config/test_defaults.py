"""The tree of defaults: typed, commented, and independent from call to call."""

import ast
import inspect

from slowfast.config import defaults, get_cfg
from slowfast.config.node import leaves
from slowfast.config.values import KINDS, convert, kind_of

KEYS = list(leaves(get_cfg()))


def test_every_key_has_a_kind_that_its_default_fits():
    for key, value in KEYS:
        kind = defaults.KINDS.get(key) or kind_of(value)
        assert kind in KINDS, key
        assert convert(kind, value) == value, key


def test_kinds_are_named_for_keys_that_exist():
    assert set(defaults.KINDS) <= {key for key, _ in KEYS}


def test_every_key_is_commented():
    """A comment stands on the line of a key or above it, shared by the keys between."""
    lines = inspect.getsource(defaults).splitlines()
    commented = False
    for line in lines:
        text = line.strip()
        if text.startswith("#") and "----" not in text:
            commented = True
        elif text.startswith("cfg.") and "CfgNode()" not in text and " = " in text:
            assert commented or "  # " in line, f"no comment: {text}"
        elif not text:
            commented = False


def test_each_call_gives_a_new_mutable_tree():
    first, second = get_cfg(), get_cfg()
    first.TRAIN.BATCH_SIZE = 3
    first.DATA.MEAN.append(0.0)
    assert second == get_cfg() != first


def test_importing_the_config_imports_no_torch():
    from subprocess import run
    from sys import executable

    code = "import sys; from slowfast.config import get_cfg; get_cfg(); sys.exit('torch' in sys.modules)"
    assert run([executable, "-c", code]).returncode == 0


def test_the_source_assigns_every_key_once():
    tree = ast.parse(inspect.getsource(defaults))
    targets = [
        ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("cfg.")
    ]
    assert len(targets) == len(set(targets))
