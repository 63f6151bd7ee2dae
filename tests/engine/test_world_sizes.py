"""Two processes take the step, and the whole run, that one takes with their joined batches.

Exactly so with batch norms in evaluation mode or synchronised, without drop path and mixing. Evaluation in several
processes: tests/test_run.py.
"""

import importlib
import json
from pathlib import Path

import pytest
import torch

from slowfast.utils import checkpoint
from slowfast.utils.launch import launch

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found(debug_data, tmp_path_factory):
    """What one process found alone, and each of two together: {"alone": ..., "together": [..., ...], "folder": ...}."""
    folder = tmp_path_factory.mktemp("world")
    data = ("DATA.PATH_TO_DATA_DIR", debug_data, "DATA.PATH_PREFIX", debug_data, "NUM_THREADS", "1")
    options = [str(word) for word in data]
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))  # spawned processes take over the path
        workers = importlib.import_module("world_size_workers")
        try:
            workers.everything(options, str(folder))
        finally:
            torch.set_num_threads(threads)
        alone = torch.load(folder / "0.pt", weights_only=False)
        settings = {"num_shards": 1, "shard_id": 0, "init_method": "", "backend": "gloo"}
        launch(workers.everything, (options, str(folder)), processes_per_shard=2, **settings)
    together = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    return {"alone": alone, "together": together, "folder": folder}


CASES = [
    f"{norm} norm, {passes} pass(es), {how}"
    for norm in ("eval", "sync")
    for passes in (1, 2)
    for how in ("kept", "recomputed")
]


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_joined_batch(found, case):
    """In float64, but for the loss, which the engine computes in float32."""
    expected, loss = found["alone"]["gradients"][case]
    parts = [part["gradients"][case] for part in found["together"]]
    assert torch.stack([part[1] for part in parts]).mean().item() == pytest.approx(loss.item(), rel=1e-6)
    for gradients, _ in parts:
        assert list(gradients) == list(expected)
        for name, value in expected.items():
            apart = (gradients[name] - value).abs().max().item()
            assert apart <= 1e-6 * value.abs().max().item() + 1e-12, name


def test_gradients_do_not_depend_on_what_is_recomputed(found):
    for part in (found["alone"], *found["together"]):
        for case in CASES[::2]:
            kept, again = (part["gradients"][case.replace("kept", how)][0] for how in ("kept", "recomputed"))
            assert all(torch.equal(again[name], value) for name, value in kept.items())


def test_plain_norms_would_give_others(found):
    """So that the test above can fail: with statistics of its own each process is another computation."""
    one, other = (
        found["together"][0]["gradients"][f"{norm} norm, 1 pass(es), kept"][0] for norm in ("eval", "sync")
    )
    assert not torch.allclose(one["blocks1.0.conv1.weight"], other["blocks1.0.conv1.weight"], rtol=1e-3)


def test_processes_draw_differently_what_is_their_own_and_agree_on_the_rest(found):
    one, other = (part["draws"] for part in found["together"])
    alone = found["alone"]["draws"]
    assert torch.equal(one["weights"], other["weights"]) and torch.equal(one["weights"], alone["weights"])
    assert torch.equal(one["sample"], other["sample"]) and torch.equal(one["sample"], alone["sample"])
    shared = torch.cat([one["videos"], other["videos"]])  # of the same global batch, each video once
    assert len(shared) == 8 and torch.equal(shared.sort().values, alone["videos"])
    assert not torch.equal(one["mixed"], other["mixed"])
    assert not set(one["masks"]) & set(other["masks"])
    assert one["masks"] == alone["masks"]  # those of rank 0


def test_what_a_step_takes_is_counted_by_all_processes_together(found):
    for part in (found["alone"], *found["together"]):
        assert part["memory"] == (1, 1, 1, 1)


def test_a_whole_run_ends_with_the_same_weights_and_statistics(found):
    """Three steps, precise statistics and a validation, in float32."""
    alone, together = (found["folder"] / f"run{size}" for size in (1, 2))
    states = [checkpoint.load(checkpoint.newest(run / "checkpoints")) for run in (alone, together)]
    assert states[0]["global_step"] == states[1]["global_step"] == 3
    assert states[0]["global_batch"] == states[1]["global_batch"] == 8
    one, other = (state["model_state"] for state in states)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5, msg=name)
    weights = torch.cat([one[name].flatten() for name in one if "running" not in name and "num_" not in name])
    assert (
        weights - found["alone"]["draws"]["weights"]
    ).abs().max() > 1e-2  # far more than what may be between them
    losses = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (alone, together)
    ]
    epochs = [next(line for line in lines if line["_type"] == "train_epoch") for lines in losses]
    assert epochs[1]["loss"] == pytest.approx(epochs[0]["loss"], rel=1e-4)
    assert found["together"][0]["training"]["val"] == found["alone"]["training"]["val"]
