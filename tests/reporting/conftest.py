"""Made-up tests: the files of a test, written by what writes them after a real one."""

import json

import numpy as np
import pytest
import torch

from slowfast.engine import evaluator, results
from slowfast.utils.logging import append_json_line


class MadeUp:
    """Writes the OUTPUT_DIR of a test with random scores in which the label often wins."""

    def __init__(self, folder):
        self.folder = folder

    def write(
        self, num_videos=60, num_classes=6, *, clips=4, crops=3, skill=1.5, seed=0, labels=None, names=None, paths=None,
        class_skill=0.0, unlabelled="", **changes,
    ):  # fmt: skip
        """labels: one each, or several each as tuples. skill: by how much the logit of a label is raised."""
        rng = np.random.default_rng(seed)
        if labels is None:
            labels = np.random.default_rng(99).integers(num_classes, size=num_videos).tolist()
        multi = not isinstance(labels[0], int)
        names = names or [f"class {number}" for number in range(num_classes)]
        paths = paths or [f"clips/{number:05d}.mp4" for number in range(num_videos)]
        own = rng.normal(size=(num_videos, num_classes)).astype(np.float32)
        for row, label in zip(own, labels, strict=True):
            for one in label if multi else [label]:
                row[one] += skill + class_skill * one
        noise = rng.normal(size=(num_videos, clips * crops, num_classes)).astype(np.float32)
        logits = (own[:, None] + noise).reshape(-1, num_classes)
        video_ids = np.repeat(np.arange(num_videos), clips * crops)
        view_ids = np.tile(np.arange(clips * crops), num_videos)
        records = evaluator.Records(video_ids, view_ids, logits)
        scored = evaluator.merge(records, clips * crops, "sum")
        self.folder.mkdir(parents=True, exist_ok=True)
        results.write_scores(
            self.folder / "scores.npz", video_ids=video_ids, view_ids=view_ids, logits=logits
        )
        self._predictions(scored, () if unlabelled else labels, paths, names)
        self._results(scored, labels, multi, unlabelled, f"8x{crops}x{clips}", changes)
        return self.folder

    def _predictions(self, scored, labels, paths, names):
        probabilities = torch.from_numpy(scored.mean_logits).softmax(dim=1).numpy()
        rows = [
            results.Prediction(path, labels[number] if len(labels) else (), score, probability)
            for number, (path, score, probability) in enumerate(
                zip(paths, scored.scores, probabilities, strict=True)
            )
        ]
        results.write_predictions(self.folder / "predictions.csv", rows, names)

    def _results(self, scored, labels, multi, unlabelled, views, changes):
        measured = {} if unlabelled else evaluator.measure(scored.scores, labels, multi)
        summary = {
            "video": measured, "video_missing_wrong": measured, "clip": {}, "num_scored": len(labels),
            "num_total": len(labels), "views": views, "ensemble_method": "sum", "unreadable": [], "incomplete": [],
            "damaged": [], "warnings": [], "operators": {"mlp 8x8": "native"}, "recipe": "recipes/made_up.yaml",
            "checkpoint": "best.pyth", "list": "lists/test.csv", "commit": "0123abc", "compiled": False,
            "versions": {"torch": "2.9"}, "hardware": {"cpu": "a CPU", "cores": 2, "gpus": [], "os": "an OS"},
            **({"no_accuracy": unlabelled} if unlabelled else {}), **changes,
        }  # fmt: skip
        results.write_results(self.folder / "results.json", summary)

    def train(self, num_epochs=5):
        """Add the records of a training."""
        for epoch in range(1, num_epochs + 1):
            where = {"epoch": f"{epoch}/{num_epochs}", "global_step": 10 * epoch}
            train = {"_type": "train_epoch", "loss": 2 / epoch, "top1_err": 90 / epoch, "lr": 0.1 / epoch}
            val = {"_type": "val_epoch", "top1_err": 80 / epoch, "top5_err": 30 / epoch}
            for record in (train, val):
                append_json_line(self.folder / "metrics.jsonl", record | where)
        return self.folder

    def change_results(self, **changes):
        """Overwrite entries of results.json."""
        path = self.folder / "results.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return self.folder


@pytest.fixture
def made_up(tmp_path):
    """A function from a name to a MadeUp that writes to a folder of that name."""
    return lambda name="run": MadeUp(tmp_path / name)
