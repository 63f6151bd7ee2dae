"""From a recipe and a command line to a checked, frozen config."""

import json
from pathlib import Path

import pytest

from slowfast.config import ConfigError, get_cfg, load_cfg, resolve
from slowfast.config.node import leaves

ROOT = Path(__file__).parents[2]
RECIPES = json.loads((ROOT / "tests/golden/recipes.json").read_text())
ROWS = sorted(name for name in RECIPES if name != "_meta")
PUBLISHED = json.loads((ROOT / "tests/golden/published_keys.json").read_text())


def recipe(folder, text="TRAIN:\n  ENABLE: True\n"):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def notes_of(folder, *opts):
    notes = []
    cfg = load_cfg(recipe(folder), opts, notes)
    return cfg, notes


def row_settings(name):
    row = RECIPES[name]
    return {**row["effective"], **row["fixes"], **row["eval_protocol"]}


# -------------------------------------------------------------------------------------- published files
def test_there_are_39_published_rows():
    assert len(ROWS) == 39


@pytest.mark.parametrize("name", ROWS)
def test_every_key_of_every_published_row_is_kept_under_its_name(name, tmp_path):
    settings = row_settings(name)
    opts = [item for pair in settings.items() for item in pair]
    values = dict(leaves(load_cfg(recipe(tmp_path), opts)))
    assert {key: values[key] for key in settings} == settings


@pytest.mark.parametrize("name", ROWS)
def test_published_rows_load_as_shipped_before_their_fixes(name, tmp_path):
    opts = [item for pair in RECIPES[name]["effective"].items() for item in pair]
    assert load_cfg(recipe(tmp_path), opts).is_frozen()


def test_every_key_of_the_reference_trees_is_accepted_at_its_default():
    assert len(PUBLISHED) == 364
    get_cfg().merge_from_list(
        [item for key, values in PUBLISHED.items() for value in values for item in (key, value)]
    )


def test_defaults_are_the_published_ones_but_for_these():
    own = dict(leaves(get_cfg()))
    differing = {key for key in own if PUBLISHED.get(key) and own[key] != PUBLISHED[key][0]}
    assert differing == {
        "DATA.INPUT_CHANNEL_NUM",
        "DATA.PATH_LABEL_SEPARATOR",
        "MODEL.ARCH",
        "MODEL.MODEL_NAME",
        "TRAIN.MIXED_PRECISION",
    }


def test_a_yaml_file_in_the_published_manner_loads(tmp_path):
    """Integers for floats, 1e-6 without a point, tuples, a list for MLP_RATIO, other sections."""
    path = recipe(
        tmp_path,
        "TRAIN:\n  ENABLE: True\n  DATASET: kinetics\n  BATCH_SIZE: 8.0\n"
        "DATA:\n  TRAIN_JITTER_SCALES: [256, 320]\n  TARGET_FPS: 30\n"
        "  MEAN: (0.45, 0.45, 0.45)\n  DECODING_BACKEND: 'decord'\n"
        "UNIFORMER:\n  MLP_RATIO: [4., 4, 4., 4]\n  QKV_SCALE: None\n  DROPOUT_RATE: 0\n"
        "SOLVER:\n  WARMUP_EPOCHS: 30\n  WARMUP_START_LR: 1e-6\n  COSINE_END_LR: '1e-6'\n"
        "  CLIP_GRADIENT: 20\n"
        "BN:\n  NORM_TYPE: batchnorm\n  NUM_SPLITS: 1\n"
        "RESNET:\n  ZERO_INIT_FINAL_BN: True\n  SPATIAL_STRIDES: [[1], [2], [2], [2]]\n"
        "MULTIGRID:\n  SHORT_CYCLE: False\nNUM_GPUS: 8\nNUM_SHARDS: 1\nRNG_SEED: 0\nOUTPUT_DIR: .\n",
    )
    cfg = load_cfg(path)
    assert cfg.TRAIN.BATCH_SIZE == 8 and isinstance(cfg.TRAIN.BATCH_SIZE, int)
    assert cfg.DATA.MEAN == [0.45, 0.45, 0.45]
    assert cfg.UNIFORMER.MLP_RATIO == [4.0, 4.0, 4.0, 4.0] and cfg.UNIFORMER.QKV_SCALE is None
    assert (cfg.SOLVER.WARMUP_START_LR, cfg.SOLVER.COSINE_END_LR) == (1e-6, 1e-6)


# ------------------------------------------------------------------------------------------ load_cfg
def test_later_sources_win_and_the_result_is_frozen(tmp_path):
    path = recipe(tmp_path, "NUM_GPUS: 4\nTRAIN:\n  BATCH_SIZE: 16\n")
    cfg = load_cfg(path, ["TRAIN.BATCH_SIZE", "8"])
    assert (cfg.NUM_GPUS, cfg.TRAIN.BATCH_SIZE, cfg.TEST.BATCH_SIZE) == (4, 8, 8)
    with pytest.raises(AttributeError):
        cfg.TRAIN.BATCH_SIZE = 3


def test_faults_of_recipe_and_command_line_are_reported_together(tmp_path):
    path = recipe(tmp_path, "TRIAN:\n  ENABLE: True\n")
    with pytest.raises(ConfigError) as caught:
        load_cfg(path, ["NUM_GPU", "1"])
    assert caught.value.problems == [
        f"{path}:2: unknown key TRIAN.ENABLE; did you mean TRAIN.ENABLE or TEST.ENABLE?",
        "command line: unknown key NUM_GPU; did you mean NUM_GPUS?",
    ]


def test_a_resolved_config_can_be_written_and_read_back(tmp_path):
    cfg = load_cfg(ROOT / "configs/k400/uniformer_s8x8.yaml", ["NUM_GPUS", "0", "SOLVER.CLIP_GRAD_VAL", "1"])
    written = tmp_path / "resolved.yaml"
    written.write_text(cfg.dump())
    again = load_cfg(written)
    assert again == cfg
    assert resolve(again) == cfg


def test_resolving_leaves_the_tree_of_the_program_alone():
    cfg = get_cfg()
    before = cfg.clone()
    resolved = resolve(cfg)
    assert cfg == before and not cfg.is_frozen() and resolved.is_frozen()
    cfg.TRAIN.BATCH_SIZE = 3


# -------------------------------------------------------------------------------------- translations
RESUME_NOTE = "TRAIN.AUTO_RESUME True means TRAIN.RESUME auto: a checkpoint in OUTPUT_DIR is continued"


def test_the_rate_stays_as_written_with_several_shards(tmp_path):
    cfg, _ = notes_of(
        tmp_path, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True, "NUM_SHARDS", 4, "SOLVER.BASE_LR", 1e-4
    )
    assert cfg.SOLVER.BASE_LR == 1e-4


@pytest.mark.parametrize(("given", "meant"), [("True", "auto"), (False, "off")])
@pytest.mark.parametrize("section", ["TRAIN", "TEST"])
def test_mixed_precision_takes_the_booleans_of_pyslowfast(tmp_path, section, given, meant):
    cfg, notes = notes_of(tmp_path, f"{section}.MIXED_PRECISION", given)
    assert cfg[section].MIXED_PRECISION == meant
    assert notes == [f"{section}.MIXED_PRECISION {given} means {meant}", RESUME_NOTE]


@pytest.mark.parametrize("word", ["auto", "bf16", "fp16", "off"])
def test_mixed_precision_takes_words_without_a_note(tmp_path, word):
    path = recipe(tmp_path, f"TRAIN:\n  MIXED_PRECISION: {word}\n")
    notes = []
    assert load_cfg(path, [], notes).TRAIN.MIXED_PRECISION == word
    assert notes == [RESUME_NOTE]


@pytest.mark.parametrize("backend", ["decord", "torchvision"])
def test_other_decoding_backends_mean_the_one_reader(tmp_path, backend):
    _, notes = notes_of(tmp_path, "DATA.DECODING_BACKEND", backend)
    assert notes == [
        f"DATA.DECODING_BACKEND {backend} means pyav, with DATA.SAMPLING_UNIT frames",
        RESUME_NOTE,
    ]


@pytest.mark.parametrize("key", ["DATA.TARGET_FPS", "DATA.TRAIN_JITTER_FPS"])
def test_rates_without_seconds_are_said_to_be_idle(tmp_path, key):
    _, notes = notes_of(tmp_path, key, 15)
    assert f"{key} 15 has no effect" in notes[0]
    _, notes = notes_of(tmp_path, key, 15, "DATA.SAMPLING_UNIT", "seconds")
    assert notes == [RESUME_NOTE]


def test_nccl_without_a_gpu_means_gloo(tmp_path):
    cfg, notes = notes_of(tmp_path, "NUM_GPUS", 0)
    assert cfg.DIST_BACKEND == "gloo"
    assert notes == [RESUME_NOTE, "DIST_BACKEND nccl needs GPUs; with NUM_GPUS 0 it means gloo"]
    cfg, notes = notes_of(tmp_path, "NUM_GPUS", 8)
    assert cfg.DIST_BACKEND == "nccl" and notes == [RESUME_NOTE]


def test_a_list_of_blocks_beside_auto_is_told_to_be_idle(tmp_path):
    published = ("MODEL.USE_CHECKPOINT", True, "MODEL.CHECKPOINT_NUM", [0, 0, 4, 0])
    cfg, notes = notes_of(tmp_path, *published, "MODEL.CHECKPOINT", "auto")
    assert cfg.MODEL.CHECKPOINT == "auto"
    assert (
        "MODEL.CHECKPOINT_NUM [0, 0, 4, 0] has no effect: with MODEL.CHECKPOINT auto memory decides" in notes
    )
    _, notes = notes_of(tmp_path, *published)
    assert notes == [RESUME_NOTE]


def test_pruning_rules_for_more_blocks_than_there_are_are_cut_with_a_note(tmp_path):
    xxs = ("MODEL.MODEL_NAME", "Uniformer_light", "UNIFORMER.DEPTH", [2, 5, 8, 2])
    cfg, notes = notes_of(tmp_path, *xxs)
    assert cfg.UNIFORMER.PRUNE_RATIO == cfg.UNIFORMER.TRADE_OFF == [[], [], [1] + [0.5] * 7, [0.5, 0.5]]
    assert [note.split()[0] for note in notes[1:]] == ["UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"]
    assert "more blocks than UNIFORMER.DEPTH [2, 5, 8, 2]" in notes[1]
    assert resolve(cfg) == cfg
    cfg, notes = notes_of(tmp_path, "UNIFORMER.DEPTH", [2, 5, 8, 2])  # another model does not read them
    assert cfg.UNIFORMER.PRUNE_RATIO[3] == [0.5, 0.5, 0.5] and notes == [RESUME_NOTE]


def test_a_key_given_twice_on_the_command_line_is_noted(tmp_path):
    cfg, notes = notes_of(tmp_path, "RNG_SEED", "1", "RNG_SEED", "2")
    assert cfg.RNG_SEED == 2 and "RNG_SEED is given twice" in notes[0]


def test_upstream_names_of_clipping(tmp_path):
    cfg, notes = notes_of(tmp_path, "SOLVER.CLIP_GRAD_L2NORM", 1)
    assert (cfg.SOLVER.CLIP_GRADIENT, cfg.SOLVER.CLIP_GRAD_VAL) == (1.0, None)
    assert notes[-1] == "SOLVER.CLIP_GRAD_L2NORM means SOLVER.CLIP_GRADIENT 1"
    cfg, notes = notes_of(tmp_path, "SOLVER.CLIP_GRAD_VAL", 0.5)
    assert (cfg.SOLVER.CLIP_GRADIENT, cfg.SOLVER.CLIP_GRAD_VAL) == (None, 0.5)
    assert "limits every value" in notes[-1]


def start(folder, *opts):
    """(RESUME, INIT, number of notes) of a run."""
    cfg, notes = notes_of(folder, *opts)
    assert resolve(cfg) == cfg
    return cfg.TRAIN.RESUME, cfg.TRAIN.INIT, len(notes)


FILE = ("TRAIN.CHECKPOINT_FILE_PATH", "k400.pyth")
RESET = ("TRAIN.CHECKPOINT_EPOCH_RESET", "True")
NOT_AUTO = ("TRAIN.AUTO_RESUME", "False")


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        ((), ("auto", "", 1)),
        (NOT_AUTO, ("", "", 0)),
        (("TRAIN.RESUME", "auto"), ("auto", "", 0)),
        (("TRAIN.RESUME", "a.pyth"), ("a.pyth", "", 0)),
        (("TRAIN.INIT", "b.pyth"), ("auto", "b.pyth", 1)),
        ((*FILE, *RESET), ("auto", "k400.pyth", 2)),
        ((*FILE, *RESET, *NOT_AUTO), ("", "k400.pyth", 1)),
        ((*FILE, *NOT_AUTO), ("k400.pyth", "", 1)),
        (FILE, ("auto", "", 2)),
    ],
)
def test_names_of_pyslowfast_for_where_to_start(tmp_path, opts, expected):
    assert start(tmp_path, *opts) == expected
