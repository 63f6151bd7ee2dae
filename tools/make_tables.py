#!/usr/bin/env python
"""Make the tables of MODEL_ZOO.md: tools/make_tables.py, or tools/make_tables.py --check to see if they are stale."""

import argparse
import json
import sys
from pathlib import Path

from slowfast.cli import exit_status
from slowfast.config import load_cfg
from slowfast.engine import results, zoo
from slowfast.engine.build import view_cost
from slowfast.utils.atomic import replace_file

ROOT = Path(__file__).resolve().parents[1]


def result_paths(name: str, published: dict) -> dict[str, Path]:
    """The result files of a row, by the parts it is made of."""
    parts = zoo.parts(published["num_test_videos"])
    return {part: ROOT / "results" / zoo.result_name(name, part) for part in parts}


def warn_of_strays(rows: dict[str, dict]) -> None:
    """Name the files below results/ that no row reads, misspelt ones for example."""
    known = {path for name, entry in rows.items() for path in result_paths(name, entry).values()}
    for path in sorted((ROOT / "results").rglob("*")):
        if path.is_file() and path not in known:
            print(f"make_tables: warning: {path} belongs to no row and is not in the tables", file=sys.stderr)


def read_row(name: str, published: dict) -> zoo.Row:
    """What the recipe, published.json and result files say of one experiment."""
    cfg = load_cfg(ROOT / "configs" / f"{name}.yaml")
    cost = view_cost(cfg)
    paths = result_paths(name, published)
    measured = {part: results.read_results(path) for part, path in paths.items() if path.exists()}
    views = (cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.NUM_ENSEMBLE_VIEWS)
    return zoo.Row(name, published, cost["parameters"], cost["macs"], views, measured)


def main() -> int:
    """Write the file, or with --check only compare it; 1 where it is stale, 2 where a result file is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the tables are stale")
    check = parser.parse_args().check
    return exit_status("make_tables", lambda: make(check))


def make(check: bool) -> int:
    path = ROOT / "MODEL_ZOO.md"
    published = json.loads((ROOT / "configs" / "published.json").read_text(encoding="utf-8"))
    warn_of_strays(published)
    text = path.read_text(encoding="utf-8")
    made = zoo.fill(text, [read_row(name, entry) for name, entry in published.items()])
    if made == text:
        return 0
    if check:
        print(f"{path.name} is stale: run tools/make_tables.py", file=sys.stderr)
        return 1
    with replace_file(path) as file:
        file.write(made.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
