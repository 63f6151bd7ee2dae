#!/usr/bin/env python
"""Make the tables of MODEL_ZOO.md: tools/make_tables.py, or tools/make_tables.py --check to see if they are stale."""

import argparse
import json
import sys
from pathlib import Path

from slowfast.config import load_cfg
from slowfast.engine import zoo
from slowfast.engine.build import view_cost
from slowfast.utils.atomic import replace_file

ROOT = Path(__file__).resolve().parents[1]


def read_row(name: str, published: dict) -> zoo.Row:
    """What the recipe, published.json and result files say of one experiment."""
    cfg = load_cfg(ROOT / "configs" / f"{name}.yaml")
    cost = view_cost(cfg)
    results = {}
    for part in ("", "split1", "split2", "split3"):
        path = ROOT / "results" / (f"{name}_{part}.json" if part else f"{name}.json")
        if path.exists():
            results[part] = json.loads(path.read_text(encoding="utf-8"))
    views = (cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.NUM_ENSEMBLE_VIEWS)
    return zoo.Row(name, published, cost["parameters"], cost["macs"], views, results)


def main() -> int:
    """Write the file, or with --check only compare it; 1 where it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the tables are stale")
    check = parser.parse_args().check
    path = ROOT / "MODEL_ZOO.md"
    published = json.loads((ROOT / "configs" / "published.json").read_text(encoding="utf-8"))
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
