"""How well the small recipes learn: trains and tests each of them over several seeds, and tables what came of it.

python benchmarks/learning.py --data gestures=/path/to/minidata motion=runs/demo/data [--recipes sparse cnn]

A data set is NAME=FOLDER, a folder with train.csv, val.csv, test.csv and classes.txt; NAME picks the recipe below
(gestures: configs/demo/uniformer_gestures.yaml, motion: configs/demo/uniformer_motion.yaml, whose videos
`python -m slowfast.datasets.synthetic FOLDER` writes). Each run lives in OUT/NAME/RECIPE/seedN and is skipped once its
results are there, so the command can be stopped and given again. It writes learning.json, learning.md and, where
matplotlib is installed, learning.png to OUT: the reference to hold a change against that should alter no result.
Recipes that are in the learning.json of OUT already and not asked for stay in the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
BASES = {
    "gestures": ROOT / "configs" / "demo" / "uniformer_gestures.yaml",
    "motion": ROOT / "configs" / "demo" / "uniformer_motion.yaml",
}
LIGHT = (
    "MODEL.MODEL_NAME Uniformer_light_ls_fp32 UNIFORMER.DEPTH [1,2,3,1] UNIFORMER.MLP_RATIO [3,3,3,3] "
    "UNIFORMER.PRUNE_RATIO [[],[],[1,0.5,0.5],[0.5]] UNIFORMER.TRADE_OFF [[],[],[1,0.5,0.5],[0.5]]"
)
SPARSE = "TRAIN.DATASET kinetics_sparse TEST.DATASET kinetics_sparse"
DENSE = {
    # Nine of ten gestures end within 5.8 seconds, half of them within 3.1: clips of 4.8 seconds, in training down to
    # 3.3, a frame each 0.2 seconds. With 16 frames of 0.3 seconds, clips of one length, or 120 epochs (80.0 to 97.5 %)
    # less is learned.
    "gestures": "TRAIN.DATASET kinetics TEST.DATASET kinetics DATA.SAMPLING_UNIT seconds DATA.SAMPLING_RATE 6 "
    "DATA.NUM_FRAMES 24 DATA.TRAIN_JITTER_FPS 13 DATA.USE_OFFSET_SAMPLING True TEST.NUM_ENSEMBLE_VIEWS 3 "
    "SOLVER.MAX_EPOCH 200",
    "motion": "TRAIN.DATASET kinetics TEST.DATASET kinetics",
}
# What the Kinetics recipes do to a clip, in place of what the gestures' recipe does
PUBLISHED_AUG = (
    "AUG.AA_TYPE rand-m7-n4-mstd0.5-inc1 AUG.RE_PROB 0.25 AUG.BACKGROUND_PROB 0.0 DATA.SSL_COLOR_JITTER False "
    "DATA.TRAIN_JITTER_SCALES_RELATIVE [0.08,1.0] DATA.TRAIN_JITTER_ASPECT_RELATIVE [0.75,1.3333] MIXUP.PROB 1.0"
)
RECIPES = ("dense", "sparse", "light-dense", "light-sparse", "cnn", "published-aug")


class Plain3D(nn.Module):
    """A plain 3D CNN of the size of the small recipes: four 3x3x3 convolutions, 0.29 M parameters."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        layers: list[nn.Module] = []
        for stage, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            stride = (1, 2, 2) if stage == 0 else 2
            layers += [nn.Conv3d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm3d(after)]
            layers.append(nn.ReLU(inplace=True))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, clips: Tensor | list[Tensor]) -> Tensor:
        return self.head(self.features(clips[0] if isinstance(clips, list | tuple) else clips))


def changes(name: str, recipe: str) -> list[str]:
    """KEY VALUE pairs that turn the base recipe of a data set into one of RECIPES."""
    if recipe == "cnn":  # sampled as the better suited of the two ways for the set
        return f"{SPARSE if name == 'gestures' else DENSE[name]} MODEL.MODEL_NAME Plain3D SOLVER.BASE_LR 1e-3".split()
    if recipe == "published-aug":
        return f"{DENSE[name]} {PUBLISHED_AUG}".split()
    sampling = SPARSE if recipe.endswith("sparse") else DENSE[name]
    return f"{sampling} {LIGHT if recipe.startswith('light') else ''}".split()


def run_one(folder: Path, name: str, data: str, recipe: str, seed: int, opts: list[str]) -> None:
    """Train and test in this process; leaves results.json and seconds.json."""
    from slowfast.config import load_cfg
    from slowfast.engine.test import test
    from slowfast.engine.train import train
    from slowfast.models import MODEL_REGISTRY

    MODEL_REGISTRY._do_register("Plain3D", lambda cfg: Plain3D(cfg.MODEL.NUM_CLASSES))
    words = [*changes(name, recipe), "RNG_SEED", str(seed), "OUTPUT_DIR", str(folder), *opts]
    cfg = load_cfg(str(BASES[name]), [*words, "DATA.PATH_TO_DATA_DIR", data, "DATA.PATH_PREFIX", data])
    start = time.perf_counter()
    train(cfg)
    seconds = {"train_seconds": round(time.perf_counter() - start, 1)}
    test(cfg)
    backwards = load_cfg(cfg.RECIPE, [*words, *reversed_test(data, folder)])
    seconds["reversed_top1"] = test(backwards)["video"]["top1"]
    (folder / "seconds.json").write_text(json.dumps(seconds) + "\n")


def reversed_test(data: str, folder: Path) -> list[str]:
    """The same test on clips played backwards, beside the first one."""
    return [
        *("DATA.PATH_TO_DATA_DIR", data, "DATA.PATH_PREFIX", data, "DATA.FRAME_ORDER", "reversed"),
        *("TRAIN.ENABLE", "False", "TEST.CHECKPOINT_FILE_PATH", str(newest(folder))),
        *("OUTPUT_DIR", str(folder / "reversed")),
    ]


def newest(folder: Path) -> Path:
    from slowfast.utils import checkpoint

    return checkpoint.newest(folder / checkpoint.FOLDER)


def collect(folder: Path) -> dict:
    """What one finished run says of itself."""
    results = json.loads((folder / "results.json").read_text())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validations = [record for record in records if record.get("_type") == "val_epoch"]
    curve = [(int(r["epoch"].split("/")[0]), 100 - r["top1_err"]) for r in validations]  # "20/120"
    return {
        "top1": results["video"]["top1"],
        "num_scored": results["num_scored"],
        "val_curve": curve,
        **json.loads((folder / "seconds.json").read_text()),
    }


def earlier(path: Path) -> dict[str, dict[str, list[dict]]]:
    """What an earlier call wrote, perhaps elsewhere: its other recipes stay in the table."""
    return json.loads(path.read_text()) if path.exists() else {}


def table(outcome: dict[str, dict[str, list[dict]]]) -> str:
    """Markdown: mean, spread and each seed of test top-1; reversed clips; training time."""
    lines = [
        "| data | recipe | top-1, mean | spread | seeds | reversed | training, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, recipes in outcome.items():
        for recipe, runs in recipes.items():
            scores = [run["top1"] for run in runs]
            backwards = ", ".join(f"{run['reversed_top1']:.1f}" for run in runs)
            seconds = ", ".join(f"{run['train_seconds']:.0f}" for run in runs)
            spread = f"{statistics.stdev(scores):.1f}" if len(scores) > 1 else "-"
            lines.append(
                f"| {name} | {recipe} | {statistics.mean(scores):.1f} | {spread} | "
                f"{', '.join(f'{score:.1f}' for score in scores)} | {backwards} | {seconds} |"
            )
    return "\n".join(lines) + "\n"


def draw(outcome: dict[str, dict[str, list[dict]]], path: Path) -> None:
    """Validation curves, a panel for each data set, a colour for each recipe."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(outcome), 4), layout="constrained")
    for panel, (name, recipes) in zip(
        figure.subplots(1, len(outcome), squeeze=False)[0], outcome.items(), strict=True
    ):
        for colour, (recipe, runs) in enumerate(recipes.items()):
            for number, run in enumerate(runs):
                epochs, top1 = zip(*run["val_curve"], strict=True)
                panel.plot(epochs, top1, color=f"C{colour}", alpha=0.8, label=recipe if number == 0 else None)
        panel.set(title=name, xlabel="epoch", ylabel="validation top-1, %", ylim=(0, 101))
        panel.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="NAME=FOLDER", help=f"names: {', '.join(BASES)}"
    )
    parser.add_argument(
        "--recipes", nargs="+", choices=RECIPES, default=RECIPES, metavar="RECIPE", help=", ".join(RECIPES)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--opts", nargs="*", default=[], help="KEY VALUE pairs for all runs")
    parser.add_argument(
        "--single", action="store_true", help="one run in this process (what the command calls itself)"
    )
    args = parser.parse_args()
    sets = dict(entry.split("=", 1) for entry in args.data)
    if unknown := set(sets) - set(BASES):
        parser.error(f"--data knows the names {', '.join(BASES)}, not {', '.join(sorted(unknown))}")
    outcome = earlier(args.out / "learning.json")
    for name, data in sets.items():
        for recipe in args.recipes:
            for seed in args.seeds:
                folder = args.out / name / recipe / f"seed{seed}"
                if args.single:
                    run_one(folder, name, data, recipe, seed, args.opts)
                elif not (folder / "seconds.json").exists():
                    words = ["--data", f"{name}={data}", "--recipes", recipe, "--seeds", str(seed)]
                    words += ["--out", str(args.out), "--single", "--opts", *args.opts]
                    subprocess.run([sys.executable, __file__, *words], check=True)
            if not args.single:
                runs = [collect(args.out / name / recipe / f"seed{seed}") for seed in args.seeds]
                outcome.setdefault(name, {})[recipe] = runs
    if args.single:
        return
    (args.out / "learning.json").write_text(json.dumps(outcome, indent=1) + "\n")
    (args.out / "learning.md").write_text(table(outcome))
    print(table(outcome), end="")
    try:
        draw(outcome, args.out / "learning.png")
    except ImportError:
        print("matplotlib is not installed, so no curves were drawn (pip install matplotlib)")


if __name__ == "__main__":
    main()
