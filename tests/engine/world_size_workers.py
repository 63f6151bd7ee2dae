"""What the processes started by test_world_sizes.py do, and the one process beside them; imported by its name."""

from pathlib import Path

import torch
from torch import nn

from slowfast.config import load_cfg
from slowfast.datasets.build import build_loaders
from slowfast.datasets.loader import Batch
from slowfast.engine.build import build_step, choose_recomputation
from slowfast.engine.session import open_session
from slowfast.engine.train import train
from slowfast.models.build import build_model
from slowfast.models.layers import Stochastic
from slowfast.utils import distributed, seeds

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "debug" / "uniformer_debug.yaml"
CPU = torch.device("cpu")
# No draw that differs between processes, and a rate at which small differences of gradients stay small.
ALIKE = (
    "MIXUP.ENABLE", "False", "MODEL.LOSS_FUNC", "cross_entropy", "UNIFORMER.DROP_DEPTH_RATE", "0",
    "SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.CLIP_GRADIENT", "1000",
)  # fmt: skip
CASES = {
    f"{norm} norm, {passes} pass(es), {'recomputed' if recomputed else 'kept'}": (norm, passes, recomputed)
    for norm in ("eval", "sync")
    for passes in (1, 2)
    for recomputed in (False, True)
}
NUM_CLIPS = 8


def batch_of(places):
    """Those of a fixed row of eight clips of 4 frames."""
    generator = torch.Generator().manual_seed(3)
    clips = torch.randint(0, 256, (NUM_CLIPS, 4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    ids, rows = torch.tensor(places), torch.arange(len(places))
    boxes = torch.zeros(len(places), 0, 4, dtype=torch.int64)
    return Batch(clips[ids], ids % 8, ids, 0 * ids, rows, boxes, ids, ())


def one_step(cfg, batches, dtype=torch.float64, norms_in_training=True):
    """What a step of the engine leaves: gradients and buffers by name, and the loss."""
    with seeds.forked_torch_stream(cfg.RNG_SEED, "init"):
        model = build_model(cfg).to(dtype).train()
    if not norms_in_training:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean += 0.5
                module.eval()
    step = build_step(cfg, CPU, distributed.wrap(model, CPU))
    prepare = step.prepare
    step.prepare = lambda *views: prepare(*views).to(dtype)
    result = step(batches, 0)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {**found, **dict(model.named_buffers())}, result.loss


def gradients(options, dtype=torch.float64):
    """The step of each case with the share of this process; pass k takes clips of the same part of the row."""
    rank, world_size, found = distributed.rank(), distributed.world_size(), {}
    for case, (norm, passes, recomputed) in CASES.items():
        more = ("BN.NORM_TYPE", "sync_batchnorm") if norm == "sync" else ()
        more += ("MODEL.CHECKPOINT", "list", "MODEL.CHECKPOINT_NUM", "[1, 1, 1, 1]") if recomputed else ()
        row = torch.arange(NUM_CLIPS).view(passes, world_size, -1)
        batches = [batch_of(places[rank].tolist()) for places in row]
        cfg = load_cfg(RECIPE, [*options, *ALIKE, *more])
        found[case] = one_step(cfg, batches, dtype, norms_in_training=norm == "sync")
    return found


def draws(options):
    """What of a run differs between its processes, and what agrees."""
    cfg = load_cfg(RECIPE, [*options, "UNIFORMER.DROP_DEPTH_RATE", "0.5", "DATA_LOADER.NUM_WORKERS", "0"])
    with seeds.forked_torch_stream(cfg.RNG_SEED, "init"):
        model = build_model(cfg)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    (loader,) = build_loaders(cfg, ("train",))
    step = build_step(cfg, CPU, distributed.wrap(model, CPU))
    (batch,) = next(iter(loader.steps(0, 0)))
    sample = loader.dataset[(0, 5)].views.clips  # the fifth video of the list, as any process would read it
    _, mixed = step._mix(torch.zeros(2, 3, 4, 32, 32), torch.tensor([0, 1]), 0, distributed.rank())
    step([batch_of([0, 1])], 0)  # on the same clips
    masks = [layer.step_seed.item() for layer in model.modules() if isinstance(layer, Stochastic)]
    return {
        "weights": weights,
        "videos": batch.video_ids.unique(),
        "sample": sample,
        "mixed": mixed,
        "masks": masks,
    }


def memory(options, folder):
    """Counts of recomputed blocks that MODEL.CHECKPOINT auto chooses with synchronised norms."""
    tight = ("MODEL.CHECKPOINT", "auto", "MODEL.CHECKPOINT_GB", "0.001", "BN.NORM_TYPE", "sync_batchnorm")
    cfg = load_cfg(RECIPE, [*options, *ALIKE, *tight])
    session = open_session("memory", folder, num_gpus=0, num_workers=0, num_threads=1)
    step = build_step(cfg, CPU, distributed.wrap(build_model(cfg), CPU))
    choose_recomputation(cfg, session, step)
    return distributed.unwrap(step.model).checkpoint


def training(options):
    """A whole run with all that can be the same in another number of processes; its global batch is 8."""
    size = 8 // distributed.world_size()
    more = ("TRAIN.BATCH_SIZE", size, "NUM_SHARDS", distributed.world_size(), "BN.NORM_TYPE", "sync_batchnorm",
            "BN.USE_PRECISE_STATS", "True", "DATA_LOADER.NUM_WORKERS", "0", "SOLVER.MAX_EPOCH", "1",
            "SOLVER.WARMUP_EPOCHS", "0", "SOLVER.BASE_LR", "0.1", "SOLVER.WEIGHT_DECAY", "0")  # fmt: skip
    return train(load_cfg(RECIPE, [*options, *ALIKE, *map(str, more)]))


def everything(options, folder):
    """All of the above in one life of the processes, whose start takes longest; kept in FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    found = {
        "gradients": gradients(options),
        "draws": draws(options),
        "memory": memory(options, folder),
        "training": training([*options, "OUTPUT_DIR", str(Path(folder, f"run{distributed.world_size()}"))]),
    }
    torch.save(found, Path(folder, f"{distributed.rank()}.pt"))
