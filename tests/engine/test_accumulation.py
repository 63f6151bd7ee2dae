"""Several passes make the step that one pass of all their videos makes, in one process and in two."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from slowfast.datasets.loader import Batch
from slowfast.engine import optimizer as optimizers
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.step import TrainStep
from slowfast.engine.train import train
from slowfast.utils import checkpoint, distributed
from slowfast.utils.launch import launch


def make_step():
    """A small network without batch normalisation, and everything a step needs."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.GELU(), nn.Linear(16, 3))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    groups = optimizers.param_groups(model, weight_decay=0.1, bn_weight_decay=0.0, zero_wd_1d=False)
    device = torch.device("cpu")
    return TrainStep(
        model=distributed.wrap(model, device),
        optimizer=optimizers.build(groups, "sgd", lr=0.5, momentum=0.9, nesterov=True),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        loss=nn.CrossEntropyLoss(),
        guard=NonFiniteGuard(model, device, max_in_a_row=5),
        prepare=lambda clips, boxes, noise: clips.float() / 255,
        device=device,
        num_classes=3,
        seed=1,
        max_grad_norm=0.05,  # below the norms met here, so that clipping before the mean would be seen
    )


def batch_of(first, last):
    """Views first..last-1 of a fixed row of eight."""
    generator = torch.Generator().manual_seed(3)
    clips = torch.randint(0, 256, (8, 2, 2, 2, 3), dtype=torch.uint8, generator=generator)
    numbers = torch.arange(first, last)
    boxes = torch.zeros(last - first, 0, 4, dtype=torch.int64)
    rows = torch.arange(last - first)
    return Batch(clips[first:last], numbers % 3, numbers, 0 * numbers, rows, boxes, numbers, ())


def three_steps(cuts):
    """Weights after three steps, and the results of each, with the views cut into passes at ``cuts``."""
    step = make_step()
    batches = [batch_of(first, last) for first, last in zip(cuts, cuts[1:], strict=False)]
    results = [step(batches, number) for number in range(3)]
    state = distributed.unwrap(step.model).state_dict()
    return {name: value.tolist() for name, value in state.items()}, [
        [result.loss.item(), result.top1_err.item(), result.grad_norm.item()] for result in results
    ]


def assert_close(one, other):
    for name, value in one[0].items():
        torch.testing.assert_close(torch.tensor(other[0][name]), torch.tensor(value), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(other[1]), torch.tensor(one[1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("passes", [2, 4, 8])
def test_passes_make_the_step_of_one_batch(passes):
    one = three_steps([0, 8])
    assert one[1][0][2] > 0.05  # clipped
    assert_close(one, three_steps(list(range(0, 9, 8 // passes))))


def write_three_steps(folder):
    """What each of two processes does: its half of the views, in one pass and in two."""
    half = 4 * distributed.rank()
    found = {passes: three_steps(list(range(half, half + 5, 4 // passes))) for passes in (1, 2)}
    Path(folder, f"{distributed.rank()}.json").write_text(json.dumps(found))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_with_two_passes_make_the_step_of_one_batch(tmp_path):
    url = f"tcp://127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(shard), url], stderr=subprocess.PIPE, text=True
        )
        for shard in range(2)
    ]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    one = three_steps([0, 8])
    weights = []
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for passes in ("1", "2"):
            weights.append(found[passes][0])
            # Losses and errors are those of the process; weights and norms are of all.
            norms = [result[2] for result in found[passes][1]]
            assert norms == pytest.approx([result[2] for result in one[1]], rel=1e-5)
    for found in weights:
        assert_close((one[0], []), (found, []))


def test_one_bad_pass_undoes_the_whole_step():
    step = make_step()
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    good, prepare = batch_of(0, 4), step.prepare
    step.prepare = lambda clips, boxes, noise: prepare(clips, boxes, noise) * (torch.nan if noise[0] else 1)
    step([good, batch_of(4, 8)], 0)
    assert all(torch.equal(value, before[name]) for name, value in step.model.state_dict().items())
    assert step.guard.check(0, 0.5) == 1
    step([good, good], 1)
    assert not torch.equal(step.model.state_dict()["1.weight"], before["1.weight"])


def test_a_run_counts_optimizer_steps_and_goes_on_with_other_passes(debug_cfg, tmp_path):
    short = ("SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0")
    first = train(debug_cfg("TRAIN.BATCH_SIZE", "4", "TRAIN.ACCUMULATION_STEPS", "2", *short))
    assert first["steps"] == 3  # 24 videos, two passes of 4 a step
    assert checkpoint.load(first["checkpoint"])["global_batch"] == 8
    assert "3 steps an epoch of 8 videos" in (tmp_path / "run" / "log.txt").read_text()
    resumed = ("TRAIN.RESUME", first["checkpoint"], "SOLVER.MAX_EPOCH", "2", "SOLVER.WARMUP_EPOCHS", "0")
    assert train(debug_cfg("TRAIN.BATCH_SIZE", "8", *resumed))["steps"] == 6
    with pytest.raises(ValueError, match=r"8 videos a step, this run has 16.*ACCUMULATION_STEPS"):
        other = ("TRAIN.ACCUMULATION_STEPS", "2", "OUTPUT_DIR", str(tmp_path / "other"))
        train(debug_cfg("TRAIN.BATCH_SIZE", "8", *other, *resumed))


if __name__ == "__main__":
    launch(
        write_three_steps,
        (sys.argv[1],),
        processes_per_shard=0,
        num_shards=2,
        shard_id=int(sys.argv[2]),
        init_method=sys.argv[3],
        backend="gloo",
    )
