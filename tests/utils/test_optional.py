"""What is missing is asked for in words; what is broken inside says so itself."""

import sys

import pytest

from slowfast.utils.optional import EXTRAS, require


def test_a_module_that_is_there_is_given():
    assert require("json", "tests").loads("1") == 1


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(package), *sys.meta_path])
    with pytest.raises(
        ValueError, match=rf'files need the package {package}.*pip install "slowfast\[{extra}\]"'
    ):
        require(package, "files")


class _Without:
    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def test_what_a_package_lacks_itself_is_no_matter_of_extras(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        require("needs_more", "tests")


def test_the_extras_are_those_of_the_package():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "setup.py").read_text()
    for package, extra in EXTRAS.items():
        assert f'"{extra}": [' in text and f'"{package}"' in text
