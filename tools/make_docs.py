#!/usr/bin/env python
"""Make docs/config.md from slowfast/config/defaults.py: tools/make_docs.py, or with --check see if it is stale.

With --api DIR the reference of the public names, from their docstrings (needs pdoc); a warning of pdoc, and a name
without a docstring, are errors.
"""

import argparse
import ast
import io
import json
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import groupby
from pathlib import Path

from slowfast.cli import exit_status
from slowfast.config import defaults, get_cfg
from slowfast.config.node import leaves
from slowfast.config.values import kind_of
from slowfast.utils.atomic import replace_file

ROOT = Path(__file__).resolve().parents[1]
CONFIG_PAGE = ROOT / "docs" / "config.md"
# What users import: packages hand out the names in their __all__, modules all that have no underscore.
API = (
    "slowfast",
    "slowfast.inference.classifier",
    "slowfast.inference.prediction",
    "slowfast.inference.timeline",
    "slowfast.inference.features",
    "slowfast.inference.video_features",
    "slowfast.config",
    "slowfast.models",
    "slowfast.models.uniformer",
    "slowfast.models.uniformer_light",
    "slowfast.datasets",
    "slowfast.datasets.annotations",
    "slowfast.datasets.frames",
    "slowfast.datasets.video_dataset",
    "slowfast.datasets.video_views",
    "slowfast.datasets.loader",
    "slowfast.engine.train",
    "slowfast.engine.test",
)
HEAD = """\
# Every key

Made from [slowfast/config/defaults.py](../slowfast/config/defaults.py) by `tools/make_docs.py`: change it there.

A recipe names the keys that differ from these defaults, and `KEY VALUE` pairs after a command change them once more;
`config.yaml` in `OUTPUT_DIR` has all of them as the run read them. A key that does not exist is refused, and the
nearest one is named. Names and defaults are those of PySlowFast and of the published UniFormer; (here) marks what is
this package's own. A clip is `DATA.NUM_FRAMES` frames, a view is one clip in one crop, a shard is one machine.
"""
_RULER = "-----"


@dataclass(frozen=True)
class Row:
    """Keys that are explained together, under a heading of the page."""

    heading: str
    keys: tuple[str, ...]
    meaning: str


def read_rows(source: str) -> list[Row]:
    """Rows from the text of defaults.py: a key with the comments above and beside it.

    A key without any belongs to the row before it. Headings are comments with a ruler.
    """
    comments = _comments(source)
    assignments = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign) and _key(node)
    ]
    rows: list[Row] = []
    heading = ""
    for node in sorted(assignments, key=lambda node: node.lineno):
        above = _above(source, node.lineno)
        heading = next((text.strip(" -") for text in above if _RULER in text), heading)
        if isinstance(node.value, ast.Call):
            continue  # a section, without a value of its own
        beside = [comments[line] for line in range(node.lineno, node.end_lineno + 1) if line in comments]
        told = [text for text in above if _RULER not in text] + beside
        if told or not rows:
            rows.append(Row(heading, (_key(node),), " ".join(told)))
        else:
            rows[-1] = replace(rows[-1], keys=(*rows[-1].keys, _key(node)))
    return rows


def _key(node: ast.Assign) -> str:
    """The full key that ``cfg.SECTION.KEY = ...`` sets; "" for any other assignment."""
    name = ast.unparse(node.targets[0])
    return name.removeprefix("cfg.") if name.startswith("cfg.") else ""


def _comments(source: str) -> dict[int, str]:
    """The text of every comment, by its line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _above(source: str, number: int) -> list[str]:
    """The comment lines directly above a line, without their marks."""
    found: list[str] = []
    for line in reversed(source.splitlines()[: number - 1]):
        if not line.lstrip().startswith("#"):
            break
        found.insert(0, line.lstrip("# "))
    return found


def config_page() -> str:
    """The text of docs/config.md."""
    values = dict(leaves(get_cfg()))
    rows = read_rows(Path(defaults.__file__).read_text(encoding="utf-8"))
    lines = [HEAD]
    for heading, group in groupby(rows, key=lambda row: row.heading):
        lines += [f"## {heading}", "", "| key | default | takes | meaning |", "| --- | --- | --- | --- |"]
        lines += [_cells(row, values) for row in group]
        lines.append("")
    return "\n".join(lines)


def _cells(row: Row, values: dict[str, object]) -> str:
    kinds = [defaults.KINDS.get(key) or kind_of(values[key]) for key in row.keys]
    cells = [
        "<br>".join(f"`{key}`" for key in row.keys),
        "<br>".join(f"`{_shown(values[key])}`" for key in row.keys),
        "<br>".join(kinds) if len(set(kinds)) > 1 else kinds[0],
        re.sub(r"([|*<])", r"\\\1", row.meaning),
    ]
    return f"| {' | '.join(cells)} |"


def _shown(value: object) -> str:
    """As a recipe may have it."""
    if value is None:
        return "null"
    return json.dumps(value) if isinstance(value, str) else str(value)


def build_api(folder: Path) -> None:
    """Write the reference of API to a folder, index.html first.

    Raises ValueError for a name without a docstring, and the first warning of pdoc as an error.
    """
    import pdoc

    for name in API:
        module = import_module(name)
        for public in getattr(module, "__all__", ()):
            setattr(
                module, public, getattr(module, public)
            )  # pdoc sees what is there; ours come when asked for
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        modules = {name: pdoc.doc.Module.from_name(name) for name in API}
        bare = [name for module in modules.values() for name in undocumented(module)]
        if bare:
            raise ValueError(f"without a docstring: {', '.join(bare)}")
        pdoc.render.configure(docformat="markdown", show_source=False)
        pages = {
            f"{name.replace('.', '/')}.html": pdoc.render.html_module(module, modules)
            for name, module in modules.items()
        }
        index = pdoc.render.env.get_template("index.html.jinja2")
        pages["index.html"] = index.render(
            all_modules=modules, root_module_name=None
        )  # all, not the first alone
        pages["search.js"] = pdoc.render.search_index(modules)
    for name, page in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(page, encoding="utf-8")


def undocumented(scope) -> Iterator[str]:
    """Public functions and classes of a module or class of pdoc that have no docstring."""
    for member in scope.own_members:
        if member.name.startswith("_") or member.kind not in ("function", "class"):
            continue
        if not member.docstring:
            yield member.fullname
        if member.kind == "class":
            yield from undocumented(member)


def main() -> int:
    """Write what is asked for; 1 where --check finds the page stale, 2 where the reference has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write no page; fail if it is stale")
    parser.add_argument(
        "--api", type=Path, metavar="DIR", help="build the reference of the public names there"
    )
    args = parser.parse_args()
    return exit_status("make_docs", lambda: make(args.check, args.api))


def make(check: bool, api: Path | None) -> int:
    if api:
        build_api(api)
        print(f"see {api / 'index.html'}")
    page = config_page()
    if CONFIG_PAGE.exists() and CONFIG_PAGE.read_text(encoding="utf-8") == page:
        return 0
    if check:
        print(f"{CONFIG_PAGE.name} is stale: run tools/make_docs.py", file=sys.stderr)
        return 1
    with replace_file(CONFIG_PAGE) as file:
        file.write(page.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
