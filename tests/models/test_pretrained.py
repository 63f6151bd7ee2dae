"""Weights of published and of other files: what is copied, inflated, replaced, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.models.pretrained import (
    HEAD_NAMES,
    PUBLISHED_NAMES,
    describe,
    fit,
    inflate,
    resolve_weights,
    state_dict_in,
)
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = {"depth": (1, 1, 2, 1), "embed_dim": (8, 16, 32, 32), "head_dim": 16}
DEPTH = {"s": (3, 4, 8, 3), "b": (5, 8, 20, 7)}
WRAPPINGS = {
    "bare": lambda weights: weights,
    "model": lambda weights: {"model": weights},
    "model_state": lambda weights: {"epoch": 9, "model_state": weights, "optimizer_state": {}, "cfg": "A: 1"},
    "state_dict": lambda weights: {"state_dict": weights},
    "module": lambda weights: {"model_state": {f"module.{name}": value for name, value in weights.items()}},
}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "inflate_tiny.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta"}


@pytest.fixture(scope="module")
def meta() -> dict:
    with np.load(GOLDEN / "inflate_tiny.npz") as arrays:
        return json.loads(str(arrays["meta"]))


def part(golden: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


def names(entries: list) -> list[str]:
    return [entry.name for entry in entries]


def published(size: str) -> dict[str, torch.Tensor]:
    """Random tensors with the names and shapes of a published file."""
    keys = json.loads((GOLDEN / "state_keys" / f"uniformer_{size}.json").read_text())["keys"]
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) if shape else torch.tensor(5) for name, shape in keys
    }


def full_size(size: str) -> Uniformer | UniformerLight:
    if size in DEPTH:
        return Uniformer(400, depth=DEPTH[size])
    xs = {"depth": (3, 5, 9, 3), "embed_dim": (64, 128, 256, 512), "head_dim": 32}
    return UniformerLight(
        400, **xs if size == "xs" else {}, layer_scale=0.1 if size.endswith("_ls") else None
    )


@pytest.mark.parametrize("size", ["s", "b", "xxs", "xxs_ls", "xs"])
def test_published_names_and_shapes_load_whole(size: str) -> None:
    weights = published(size)
    model = full_size(size)
    report = fit({"model_state": weights}, model, replace_head=False)
    assert len(report.matched) == len(weights)
    assert not (report.inflated or report.replaced or report.missing or report.unexpected or report.misfit)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_way_of_wrapping(wrapping: str) -> None:
    model, source = Uniformer(5, **TINY), Uniformer(5, **TINY)
    fit(WRAPPINGS[wrapping](source.state_dict()), model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


@pytest.mark.parametrize("case", ["joint", "same_classes", "split", "std"])
def test_image_weights_are_inflated_as_published(case: str, golden: dict, meta: dict) -> None:
    rules = meta["cases"][case]
    video = rules["video_config"]
    model = Uniformer(video["NUM_CLASSES"], **TINY, split=video["SPLIT"], std=video["STD"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = fit({"model": part(golden, "image/")}, model, allow=["*.t_norm.*", "*.t_attn.*"])
    assert set(names(report.inflated)) == set(rules["keys_inflated"])
    assert names(report.replaced) == rules["keys_dropped_from_checkpoint"]
    kept = names(report.missing) + names(report.replaced)
    assert set(kept) == set(rules["keys_not_loaded_keep_initial"])
    assert not report.unexpected and not report.misfit
    after = model.state_dict()
    inflated = part(golden, "std/" if case == "std" else "joint/")  # what the other two would repeat
    for name in rules["keys_inflated"]:
        torch.testing.assert_close(after[name], inflated[name], rtol=1e-6, atol=0, msg=name)
    for name in set(rules["keys_loaded"]) - set(rules["keys_inflated"]):
        assert torch.equal(after[name], golden[f"image/{name}"])
    for name in kept:
        assert torch.equal(after[name], before[name])


@pytest.mark.parametrize("case", ["light", "light_to_layer_scale"])
def test_light_image_weights_are_inflated_as_published(case: str, golden: dict, meta: dict) -> None:
    rules = meta["cases"][case]
    model = UniformerLight(5, **TINY, layer_scale=None if case == "light" else 0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # Published code fails on a light file in such a wrapping.
    report = fit({"model": part(golden, "image_light/")}, model, allow=["*.gamma_?"])
    assert set(names(report.inflated)) == set(rules["keys_inflated"])
    assert set(names(report.replaced)) == set(rules["keys_dropped_from_checkpoint"]) == set(HEAD_NAMES)
    kept = names(report.missing) + names(report.replaced)
    assert set(kept) == set(rules["keys_not_loaded_keep_initial"])
    assert not report.unexpected and not report.misfit
    after, inflated = model.state_dict(), part(golden, "light/")
    for name in rules["keys_inflated"]:
        torch.testing.assert_close(after[name], inflated[name], rtol=1e-6, atol=0, msg=name)
    for name in set(rules["keys_loaded"]) - set(rules["keys_inflated"]):
        assert torch.equal(after[name], golden[f"image_light/{name}"])
    for name in kept:
        assert torch.equal(after[name], before[name])


def test_layer_scale_missing_in_image_weights_needs_leave(golden: dict) -> None:
    with pytest.raises(ValueError, match="10 missing: blocks1.0.gamma_1") as error:
        fit(part(golden, "image_light/"), UniformerLight(5, **TINY, layer_scale=0.1))
    assert "the model is a lightweight UniFormer" in str(error.value)
    assert str(error.value).count("with layer scale") == 1


def test_layer_scale_of_an_image_model_is_taken_over(golden: dict) -> None:
    model = UniformerLight(7, **TINY, layer_scale=0.1)
    weights = part(golden, "image_light/")
    for name, value in model.state_dict().items():
        if "gamma" in name:
            weights[name] = torch.full_like(value.squeeze(2) if value.ndim == 5 else value, 0.7)
    fit(weights, model)
    assert all((block.gamma_2 == 0.7).all() for block in (model.blocks1[0], model.blocks3[1]))


def test_a_file_without_the_class_token_head_is_refused_by_name() -> None:
    model = UniformerLight(5, **TINY)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("head_cls")}
    with pytest.raises(ValueError, match=r"2 missing: head_cls.weight \(5, 32\), head_cls.bias \(5,\)"):
        fit(weights, model, replace_head=False)
    assert names(fit(weights, model, allow=["head_cls.*"]).missing) == ["head_cls.weight", "head_cls.bias"]


LIGHT_WORDS = (
    r"a lightweight UniFormer \(Uniformer_light\*\), DEPTH \[1, 1, 2, 1\], EMBED_DIM \[8, 16, 32, 32\]"
)
PLAIN_WORDS = r"a UniFormer \(Uniformer\), DEPTH \[1, 1, 2, 1\], EMBED_DIM \[8, 16, 32, 32\]"


@pytest.mark.parametrize("replace_head", [True, False])
def test_a_file_of_the_other_family_is_refused_and_both_are_named(replace_head: bool) -> None:
    plain, light = Uniformer(5, **TINY), UniformerLight(5, **TINY)
    for file, model, said in (
        (light, plain, f"The file looks like {LIGHT_WORDS}; the model is {PLAIN_WORDS}"),
        (plain, light, f"The file looks like {PLAIN_WORDS}; the model is {LIGHT_WORDS}"),
    ):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=said):
            fit(file.state_dict(), model, replace_head=replace_head)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_descriptions_tell_variants_apart() -> None:
    assert describe(Uniformer(5, **TINY, split=True).state_dict()).endswith("with split attention")
    assert describe(UniformerLight(5, **TINY, layer_scale=1.0).state_dict()).endswith("with layer scale")
    assert describe({"conv1.weight": torch.zeros(1), "blocks1.0.pos_embed.weight": torch.zeros(1)}) is None


def test_temporal_layers_missing_in_image_weights_need_leave(golden: dict) -> None:
    with pytest.raises(ValueError, match="18 missing: blocks3.0.t_norm.weight"):
        fit(part(golden, "image/"), Uniformer(5, **TINY, split=True))


def test_other_number_of_classes_replaces_the_head_alone(golden: dict) -> None:
    source, model = Uniformer(400, **TINY), Uniformer(174, **TINY)
    fresh = model.head.weight.clone()
    report = fit(source.state_dict(), model)
    assert [str(entry) for entry in report.replaced] == [
        "head.weight (400, 32) -> (174, 32)",
        "head.bias (400,) -> (174,)",
    ]
    assert torch.equal(model.head.weight, fresh)
    assert torch.equal(model.norm.weight, source.norm.weight)
    assert len(report.matched) == len(model.state_dict()) - 2


def test_equal_number_of_classes_keeps_the_head() -> None:
    source, model = Uniformer(101, **TINY), Uniformer(101, **TINY)
    assert not fit(source.state_dict(), model).replaced
    assert torch.equal(model.head.weight, source.head.weight)


def test_without_leave_to_replace_the_head_must_fit() -> None:
    with pytest.raises(ValueError, match=r"2 misfit: head.weight \(400, 32\) -> \(5, 32\)"):
        fit(Uniformer(400, **TINY).state_dict(), Uniformer(5, **TINY), replace_head=False)


def test_a_file_of_another_model_is_refused_and_changes_nothing() -> None:
    model = Uniformer(5, **TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = Uniformer(5, depth=(1, 2, 1, 1), embed_dim=(8, 16, 32, 64), head_dim=16)
    with pytest.raises(ValueError) as error:
        fit(other.state_dict(), model)
    message = str(error.value)
    assert "missing: blocks3.1.pos_embed.weight (32, 1, 3, 3, 3), " in message
    assert "unexpected: blocks2.1.pos_embed.weight (16, 1, 3, 3, 3), " in message
    assert "misfit: patch_embed4.norm.weight (64,) -> (32,), " in message
    assert "TRAIN.INIT_ALLOW" in message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_patterns_allow_misfits_which_are_reported() -> None:
    model = Uniformer(5, **TINY)
    weights = model.state_dict() | {"aux_head.weight": torch.zeros(3), "norm.bias": torch.zeros(7)}
    del weights["blocks4.0.norm2.weight"]
    with pytest.raises(ValueError, match="1 unexpected: aux_head.weight") as error:
        fit(weights, model, allow=["blocks4.*", "norm.bias"])
    assert "missing" not in str(error.value) and "misfit" not in str(error.value)
    report = fit(weights, model, allow=["blocks4.*", "norm.bias", "aux_head.*"])
    assert names(report.missing) == ["blocks4.0.norm2.weight"]
    assert names(report.unexpected) == ["aux_head.weight"]
    assert names(report.misfit) == ["norm.bias"]


def test_kernels_that_differ_in_more_than_time_are_misfits() -> None:
    source, model = Uniformer(5, **TINY), Uniformer(5, **TINY, std=True)
    with pytest.raises(
        ValueError, match=r"3 misfit: patch_embed2.proj.weight \(16, 8, 1, 2, 2\) -> \(16, 8, 3"
    ):
        fit(source.state_dict(), model)


def test_table_counts_all_and_names_all_but_the_matched(golden: dict) -> None:
    model = Uniformer(5, **TINY)
    lines = fit({"model": part(golden, "image/")}, model).table().splitlines()
    counts = {line.split()[0]: int(line.split()[1]) for line in lines if not line.startswith(" ")}
    assert sum(counts.values()) == len(model.state_dict())
    assert list(counts) == ["matched", "inflated", "replaced", "missing", "unexpected", "misfit"]
    assert "    head.weight (7, 32) -> (5, 32)" in lines
    assert len(lines) == len(counts) + sum(counts.values()) - counts["matched"]


@pytest.mark.parametrize("payload", [{}, {"epoch": 3}, {"model_state": {}}, {"model": {"weight": [1.0]}}])
def test_a_file_without_weights_is_refused(payload: dict) -> None:
    with pytest.raises(ValueError, match="no weights found"):
        state_dict_in(payload)


def test_inflation_rules(golden: dict) -> None:
    published = golden["helper/weight_2d"]
    torch.testing.assert_close(inflate(published, 3), golden["helper/repeat_t3"], rtol=1e-6, atol=0)
    assert torch.equal(inflate(published, 3, rule="centre"), golden["helper/centre_t3"])
    flat = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    average, centre = inflate(flat, 5), inflate(flat, 5, rule="centre")
    assert average.shape == centre.shape == (4, 2, 5, 3, 3)
    for kernel in (average, centre):
        torch.testing.assert_close(kernel.sum(2), flat)
    assert torch.equal(centre[:, :, 2], flat) and centre.count_nonzero() == flat.count_nonzero()
    with pytest.raises(ValueError, match="'mean' is unknown; known: average, centre"):
        inflate(flat, 3, rule="mean")


def test_published_names_of_the_light_family_are_known() -> None:
    light = {f"uniformer_xxs_{size}_in1k" for size in (128, 160, 192, 224)}
    light |= {f"uniformer_xs_{size}_in1k" for size in (192, 224)}
    assert light == {name for name in PUBLISHED_NAMES if "_x" in name}


def test_names_and_paths(tmp_path: Path) -> None:
    name = "uniformer_small_k400_8x8"
    assert name in PUBLISHED_NAMES
    file = tmp_path / f"{name}.pth"
    with pytest.raises(FileNotFoundError) as error:
        resolve_weights(name, tmp_path)
    for words in (str(file), "github.com/Sense-X/UniFormer", "MODEL.WEIGHTS_DIR", 'TRAIN.INIT ""'):
        assert words in str(error.value)
    file.touch()
    assert resolve_weights(name, tmp_path) == file
    assert resolve_weights(str(file), "elsewhere") == file
    assert resolve_weights("https://example.org/a.pth", tmp_path) == "https://example.org/a.pth"
    with pytest.raises(FileNotFoundError, match="did you mean uniformer_small_k400_8x8"):
        resolve_weights("uniformer_small_k400_8x9", tmp_path)
    with pytest.raises(FileNotFoundError, match="weights 'no/such/file.pyth' do not exist"):
        resolve_weights("no/such/file.pyth", tmp_path)
