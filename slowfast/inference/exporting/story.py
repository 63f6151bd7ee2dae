"""The story of an export: load, write beside the place, check against the model, put in place, measure, tell."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slowfast import __version__
from slowfast.inference.build import load, load_weights
from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.exporting import checking, onnx_file, safetensors_file, torch_export, wrapped
from slowfast.inference.exporting.accuracy import top1
from slowfast.utils.plural import counted

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors"}


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    to: a key of SUFFIXES. out: the file. with_preprocessing, softmax: see `wrapped.Deployed`. batch: clips that the
    file takes at once, 0 for any number. int8: "" or one of onnx_file.INT8_WAYS, for a second file beside the first.
    """

    to: str
    out: Path
    with_preprocessing: bool = False
    softmax: bool = False
    batch: int = 0
    int8: str = ""

    def __post_init__(self) -> None:
        if self.out.suffix != SUFFIXES[self.to]:
            raise ValueError(f"--out {self.out}: a file of --to {self.to} ends in {SUFFIXES[self.to]}")
        if self.batch < 0:
            raise ValueError(f"--batch {self.batch}: write a number of clips, or leave it out for any number")
        in_graph = {
            "--with-preprocessing": self.with_preprocessing,
            "--softmax": self.softmax,
            "--batch": self.batch,
        }
        given = [option for option, value in in_graph.items() if value]
        if self.to == "safetensors" and given:
            raise ValueError(
                f"{given[0]}: safetensors hold weights and no computation; leave it out, or write --to onnx or "
                "--to torch-export"
            )
        if self.int8 and self.to != "onnx":
            raise ValueError(
                f"--int8: onnxruntime quantises ONNX files alone; write --to onnx, not {self.to}"
            )

    @property
    def int8_out(self) -> Path:
        return self.out.with_name(f"{self.out.stem}_int8.onnx")


def export(
    checkpoint: str | os.PathLike,
    wanted: Wanted,
    *,
    recipe: str | None = None,
    opts: Sequence = (),
    check: Sequence[str] = (),
    check_list: str = "",
    media: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Write a checkpoint's model as ``wanted``, tell what was compared and measured.

    check: videos whose first views are compared; () for generated ones. check_list, media: a list whose top-1 accuracy
    is measured too. Raises ValueError, and leaves what was there, where the file's outputs differ from the model's by
    more than checking.TOLERANCE.
    """
    if wanted.to == "onnx":
        onnx_file.require_packages()
        onnx_file.quiet()
    if check_list and wanted.to == "safetensors":
        raise ValueError("--check-list: the weights are the same in safetensors; leave it out")
    opts = [*opts, "TEST.MIXED_PRECISION", "off"]  # files are float32, and are compared with that
    classifier = load(checkpoint, recipe=recipe, device="cpu", opts=opts)
    clips = checking.check_clips(classifier, check)
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    if wanted.to == "safetensors":
        _export_weights(checkpoint, wanted, classifier, clips, recipe, opts, say)
        return
    runners = {"the model here": _Reference(classifier, wanted)}
    with tempfile.TemporaryDirectory(dir=wanted.out.parent, prefix=f".{wanted.out.name}.") as folder:
        written = Path(folder) / wanted.out.name
        runners[str(wanted.out)] = run = _write(classifier, wanted, clips, written)
        _compare(runners["the model here"], run, clips, wanted, say)
        _put_in_place(written, wanted.out)
        sizes = {str(wanted.out): checking.megabytes(wanted.out)}
        if wanted.int8:
            quantised = Path(folder) / wanted.int8_out.name
            runners[str(wanted.int8_out)] = run = _quantise(classifier, wanted, clips, quantised)
            os.replace(quantised, wanted.int8_out)
            sizes[str(wanted.int8_out)] = checking.megabytes(wanted.int8_out)
            _tell_change(runners["the model here"], run, clips, wanted, say)
    _tell_sizes(checkpoint, sizes, runners, clips, say)
    if check_list:
        for line in top1(classifier, runners, check_list, media, wanted.softmax):
            say(line)


class _Reference:
    """What the file shall compute, by the model itself: from uint8 clips to logits or probabilities."""

    def __init__(self, classifier: VideoClassifier, wanted: Wanted) -> None:
        self.classifier, self.softmax = classifier, wanted.softmax

    def __call__(self, clips: Tensor) -> Tensor:
        logits = self.classifier.logits(clips)
        return logits.softmax(dim=-1) if self.softmax else logits


def _write(
    classifier: VideoClassifier, wanted: Wanted, clips: checking.Check, path: Path
) -> checking.Outputs:
    """Write the file; a function from uint8 clips to its outputs."""
    module = wrapped.deployed(
        classifier, with_preprocessing=wanted.with_preprocessing, softmax=wanted.softmax
    )
    program = wrapped.traced(module, _as_input(classifier, wanted, clips.clips), wanted.batch)
    if wanted.to == "onnx":
        onnx_file.write(program, path, _output(wanted), metadata(classifier, wanted))
        return _fed(classifier, wanted, onnx_file.runner(path, torch.get_num_threads()))
    torch_export.write(program, path, metadata(classifier, wanted))
    return _fed(classifier, wanted, torch_export.runner(path))


def _quantise(
    classifier: VideoClassifier, wanted: Wanted, clips: checking.Check, path: Path
) -> checking.Outputs:
    onnx_file.quantise(
        wanted.out,
        path,
        wanted.int8,
        list(_batches(_as_input(classifier, wanted, clips.clips), wanted.batch or 1)),
    )
    return _fed(classifier, wanted, onnx_file.runner(path, torch.get_num_threads()))


def _as_input(classifier: VideoClassifier, wanted: Wanted, clips: Tensor) -> Tensor:
    """uint8 clips as the file takes them."""
    return clips if wanted.with_preprocessing else classifier.model_input(clips).contiguous()


def _fed(classifier: VideoClassifier, wanted: Wanted, run: checking.Outputs) -> checking.Outputs:
    """The same from any number of uint8 clips, in batches of the number that the file takes."""

    def outputs(clips: Tensor) -> Tensor:
        given = _as_input(classifier, wanted, clips)
        size = wanted.batch or classifier.views_per_batch
        parts = [run(batch) for batch in _batches(given, size, full=wanted.batch > 0)]
        return torch.cat(parts)[: len(clips)]

    return outputs


def _batches(clips: Tensor, size: int, full: bool = True) -> list[Tensor]:
    """Clips in batches; with ``full`` the last one is filled up with its last clip."""
    batches = list(clips.split(size))
    missing = size - len(batches[-1])
    if full and missing:
        batches[-1] = torch.cat([batches[-1], batches[-1][-1:].expand(missing, *clips.shape[1:])])
    return batches


def _output(wanted: Wanted) -> str:
    return "probabilities" if wanted.softmax else "logits"


def _compare(
    reference: checking.Outputs, run: checking.Outputs, clips: checking.Check, wanted: Wanted, say: Callable
) -> None:
    gap = checking.difference(reference(clips.clips), run(clips.clips))
    if not gap <= checking.TOLERANCE:
        raise ValueError(
            f"{wanted.out} is not written: on {clips.source} its {_output(wanted)} differ from those of the model by "
            f"{gap:.2g}, more than the {checking.TOLERANCE:g} allowed; other videos (--check) show whether that is so "
            "for all, other versions of the packages may mend it"
        )
    say(
        f"checked on {clips.source}: the largest difference of {_output(wanted)} from the model is {gap:.1e} "
        f"(allowed {checking.TOLERANCE:g})"
    )


def _tell_change(
    reference: checking.Outputs, run: checking.Outputs, clips: checking.Check, wanted: Wanted, say: Callable
) -> None:
    expected, found = reference(clips.clips), run(clips.clips)
    say(
        f"int8 ({wanted.int8}) on {clips.source}: the largest difference of {_output(wanted)} is "
        f"{checking.difference(expected, found):.2g}; the same best class for {checking.agreement(expected, found)} "
        f"of {counted(len(expected), 'clip')}"
    )


def _tell_sizes(
    checkpoint: str | os.PathLike,
    sizes: dict[str, float],
    runners: dict[str, checking.Outputs],
    clips: checking.Check,
    say: Callable,
) -> None:
    """A row for the checkpoint, the model and each file: size, and the median time of one clip."""
    times = dict(zip(runners, checking.milliseconds(list(runners.values()), clips.clips), strict=True))
    sizes = {os.fspath(checkpoint): checking.megabytes(Path(checkpoint)), **sizes}
    names = list(dict.fromkeys([*sizes, *times]))
    width = max(map(len, names))
    say(f"{'':<{width}}  {'MB':>8}  {'ms a clip':>9}")
    for name in names:
        size = f"{sizes[name]:8.1f}" if name in sizes else f"{'':8}"
        time = f"{times[name]:9.1f}" if name in times else ""
        say(f"{name:<{width}}  {size}  {time}".rstrip())
    threads = counted(torch.get_num_threads(), "thread")
    say(f"(median of {checking.TIMED_RUNS} runs of one clip from memory, {threads} each, in turns)")


def _put_in_place(written: Path, out: Path) -> None:
    description = torch_export.description_path(written)
    if description.exists():
        os.replace(description, torch_export.description_path(out))
    os.replace(written, out)


def _export_weights(
    checkpoint: str | os.PathLike,
    wanted: Wanted,
    classifier: VideoClassifier,
    clips: checking.Check,
    recipe: str | None,
    opts: Sequence,
    say: Callable,
) -> None:
    """Weights as they were trained, so that what they are loaded into may fold them or train on."""
    weights = load_weights(checkpoint, recipe=recipe, opts=opts)
    with tempfile.TemporaryDirectory(dir=wanted.out.parent, prefix=f".{wanted.out.name}.") as folder:
        written = Path(folder) / wanted.out.name
        safetensors_file.write(weights, written, metadata(classifier, wanted))
        again = load(written, device="cpu", opts=["TEST.MIXED_PRECISION", "off"])
        _compare(_Reference(classifier, wanted), _Reference(again, wanted), clips, wanted, say)
        os.replace(written, wanted.out)
    for path in (Path(checkpoint), wanted.out):
        say(f"{path}: {checking.megabytes(path):.1f} MB")


def metadata(classifier: VideoClassifier, wanted: Wanted) -> dict[str, str]:
    """What a consumer needs besides the numbers, each a text: lists and tables in JSON, the config in YAML."""
    frames, side = classifier.facts["num_frames"], classifier.facts["crop_size"]
    count = wanted.batch or "N"
    taken = (
        f"clips: uint8 ({count}, {frames}, {side}, {side}, 3), RGB, 0..255"
        if wanted.with_preprocessing
        else f"clips: float32 ({count}, 3, {frames}, {side}, {side}), normalised and in the channel order of "
        "preprocessing"
    )
    return {
        "slowfast": __version__,
        "model": classifier.facts["model"],
        "recipe": classifier.facts["recipe"],
        "input": taken,
        "output": f"{_output(wanted)}: float32 ({count}, {len(classifier.class_names)})",
        "class_names": json.dumps(classifier.class_names),
        "preprocessing": json.dumps(classifier.description["preprocessing"]),
        "config": classifier.description["config"],
    }
