"""Models as ONNX files, and as onnxruntime runs them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast.utils.optional import require

WHY = "ONNX files"
INPUT = "clips"
OPSET = 20  # the first with Gelu as one operator
INT8_WAYS = ("dynamic", "static")
_QUANTISED = ["MatMul", "Gemm"]  # hold nearly all weights; convolutions in int8 are slower on most CPUs


def require_packages() -> None:
    """Raise ValueError, with what to install, unless ONNX files can be written and run."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        require(name, WHY)


def write(
    program: torch.export.ExportedProgram, path: str | os.PathLike, output: str, metadata: Mapping[str, str]
) -> None:
    """Write a program, whose input is named clips and whose output ``output``; its metadata go into the file."""
    optimizer = require("onnxscript.optimizer", WHY)
    # The framework's own optimisation takes most of the time and finds little: onnxruntime does it again when it loads.
    converted = torch.onnx.export(
        program,
        (),
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[output],
        custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
    )
    optimizer.fold_constants(converted.model)
    optimizer.remove_unused_nodes(converted.model)
    converted.model.metadata_props.update(metadata)
    converted.save(path)


def _stable_sort(
    values: Any, stable: bool = True, dim: int = -1, descending: bool = False
) -> tuple[Any, Any]:
    """TopK of all values: among equal ones it gives the lower index first, as its specification demands."""
    opset = require("onnxscript", WHY).opset18
    count = opset.Gather(opset.Shape(values), opset.Constant(value_ints=[dim]))
    return opset.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def runner(path: str | os.PathLike, threads: int) -> Callable[[Tensor], Tensor]:
    """A function from clips, as the file takes them, to its output, run by onnxruntime on the CPU."""
    session = _session(path, threads)
    return lambda clips: torch.from_numpy(session.run(None, {INPUT: clips.numpy()})[0])


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """What `write` was given besides the program."""
    return dict(_session(path, 1).get_modelmeta().custom_metadata_map)


def quantise(path: Path, target: Path, way: str, clips: Sequence[Tensor]) -> None:
    """Write the model in ``path`` with the weights of its linear layers in int8 to ``target``.

    way: dynamic, activations are scaled as they come; static, by what they are for ``clips``, batches of inputs.
    """
    quantization = require("onnxruntime.quantization", WHY)
    pre_process = require("onnxruntime.quantization.shape_inference", WHY).quant_pre_process
    prepared = target.with_name(f"{target.stem}_prepared.onnx")
    try:
        pre_process(
            path, prepared, skip_symbolic_shape=True
        )  # weights as such, not as operators on constants
        if way == "dynamic":
            quantization.quantize_dynamic(
                prepared, target, op_types_to_quantize=_QUANTISED, per_channel=True, extra_options=_PLAIN
            )
        else:
            quantization.quantize_static(
                prepared,
                target,
                _reader(quantization, clips),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_QUANTISED,
                per_channel=True,
                extra_options=_PLAIN,
            )
    finally:
        prepared.unlink(missing_ok=True)
    _copy_metadata(path, target)


# Products of two activations, those of attention, stay as they are.
_PLAIN = {"MatMulConstBOnly": True}


def _reader(quantization: Any, clips: Sequence[Tensor]) -> Any:
    class Clips(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(clips)

        def get_next(self) -> dict[str, np.ndarray] | None:
            given = next(self.left, None)
            return None if given is None else {INPUT: given.numpy()}

    return Clips()


def _copy_metadata(source: Path, target: Path) -> None:
    onnx = require("onnx", WHY)
    model = onnx.load(target)
    onnx.helper.set_model_props(model, read_metadata(source))
    onnx.save(model, target)


def _session(path: str | os.PathLike, threads: int) -> Any:
    runtime = require("onnxruntime", WHY)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def quiet() -> None:
    """Keep the converters from telling people of their steps."""
    for name in ("torch.onnx", "onnxscript", "onnx_ir", "onnxruntime", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)
