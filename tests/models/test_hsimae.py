"""HSIMAE of both generations: sizes, masks, and what the networks must and must not react to."""

import json
import math
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.models import hsimae, hsimae_v1
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.models.hsimae_v1 import HSIMAEv1Config
from hsi_toolkit.models.layers import DropPath, TokenLayout, sincos_3d, swiglu_width
from hsi_toolkit.models.masking import cell_mask, joint_mask, joint_mask_lengths, random_mask

SMALL = HSIMAEConfig.of_size("small")
SMALL_V1 = HSIMAEv1Config(embed_dim=32, depth=2, num_heads=2, decoder_embed_dim=16, decoder_num_heads=2)


def windows(count: int, bands: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, bands, 9, 9, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("entry", "config"),
    [
        ("HSIMAE_B (HEAD, dim 128)", HSIMAEConfig.of_size("base")),
        ("HSIMAE_L (HEAD, dim 256)", HSIMAEConfig.of_size("large")),
        ("HSIMAE_H (HEAD layout, dim 512, not in HEAD scripts)", HSIMAEConfig.of_size("huge")),
        ("HSIMAE_B (first commit, dim 144)", HSIMAEv1Config.of_size("base")),
        ("HSIMAE_L (first commit, dim 256)", HSIMAEv1Config.of_size("large")),
        ("HSIMAE_H (first commit, dim 512)", HSIMAEv1Config.of_size("huge")),
    ],
)
def test_full_size_networks_have_the_published_keys_and_shapes(
    shared: Path, entry: str, config: HSIMAEConfig | HSIMAEv1Config
) -> None:
    published = json.loads((shared / "parity/manifests/hsimae.json").read_text())[entry]
    with torch.device("meta"):
        model = hsimae.HSIMAE(config) if isinstance(config, HSIMAEConfig) else hsimae_v1.HSIMAE(config)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == published


def test_parameter_counts_are_those_of_the_paper_and_small_fits_a_laptop() -> None:
    def count(config: HSIMAEConfig, *, classes: int | None = None) -> int:
        with torch.device("meta"):
            model = hsimae.HSIMAE(config) if classes is None else hsimae.HSIViT(config, classes)
        return sum(math.prod(tensor.shape) for tensor in model.state_dict().values())

    assert count(HSIMAEConfig.of_size("base")) == 4_621_176
    assert count(HSIMAEConfig.of_size("large")) == 17_068_352
    assert round(count(HSIMAEConfig.of_size("base"), classes=17) / 1e6, 2) == 4.21
    assert round(count(HSIMAEConfig.of_size("large"), classes=17) / 1e6, 2) == 16.66
    assert 300_000 < count(SMALL) < 400_000


def test_an_unknown_size_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ParameterError, match=r"'tiny'.*small, base, large, huge"):
        HSIMAEConfig.of_size("tiny")
    with pytest.raises(ParameterError, match=r"'small'.*base, large, huge"):
        HSIMAEv1Config.of_size("small")


def test_swiglu_widths_are_the_published_ones() -> None:
    widths = {16: 44, 32: 88, 48: 128, 64: 172, 128: 344, 256: 684, 512: 1368}
    assert {dim: swiglu_width(dim) for dim in widths} == widths


@settings(deadline=None)
@given(side=st.integers(1, 4), patch=st.integers(1, 4), groups=st.integers(1, 5), b_patch=st.integers(1, 9))
def test_joining_cut_tokens_gives_the_windows_back(side: int, patch: int, groups: int, b_patch: int) -> None:
    layout = TokenLayout(side * patch, patch, groups * b_patch, b_patch)
    imgs = torch.randn(2, 1, layout.bands, layout.img_size, layout.img_size)
    tokens = layout.cut(imgs)
    assert tokens.shape == (2, layout.groups * layout.cells, layout.values)
    assert torch.equal(layout.join(tokens), imgs)


def test_embedding_tokens_equals_the_convolution_of_the_published_code() -> None:
    model = hsimae.HSIViT(SMALL, 3)
    imgs = windows(2)
    convolved = model.patch_embed.proj(imgs).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.patch_embed(SMALL.cut(imgs)), convolved, atol=1e-5, rtol=1e-4)


def test_positions_encode_group_then_column_then_row() -> None:
    table = sincos_3d(16, groups=2, cells=3)[0].reshape(2, 3, 3, 16)
    assert torch.equal(table[0, 0, :, :8], table[0, 2, :, :8])  # the group's half ignores the cell
    assert torch.equal(table[0, :, 1, 8:12], table[1, :, 1, 8:12])  # the column's quarter ignores the row
    assert torch.equal(table[0, 0, 1, 8:12], table[0, 2, 1, 8:12])
    assert not torch.equal(table[0, 1, 0, 12:], table[0, 2, 0, 12:])  # the last quarter is the row's


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, {(2, 9), (3, 6)}), (0.8, {(2, 4), (4, 2)})])
def test_joint_mask_sizes_are_drawn_among_the_nearest(ratio: float, expected: set[tuple[int, int]]) -> None:
    rng = random.Random(0)
    assert {joint_mask_lengths(4, 9, ratio, rng) for _ in range(50)} == expected


def test_joint_mask_shows_a_grid_in_raster_order() -> None:
    noise = (torch.tensor([[0.9, 0.1, 0.2, 0.8]]), torch.tensor([[0.5, 0.1, 0.9, 0.4]]))
    mask = joint_mask((2, 3), samples=1, groups=4, cells=4, noise=noise)
    assert mask.ids_keep.tolist() == [[4, 5, 7, 8, 9, 11]]
    # behind them the tokens of which group or cell is visible, then the others, both in raster order
    order = mask.ids_restore.argsort(dim=1)
    assert order.tolist() == [[4, 5, 7, 8, 9, 11, 0, 1, 3, 6, 10, 12, 13, 15, 2, 14]]
    assert mask.removed.sum() == 10


@settings(deadline=None)
@given(ratio=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_every_mask_restores_the_raster_order(ratio: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = joint_mask_lengths(4, 9, ratio, random.Random(seed))
    masks = [
        joint_mask(lengths, samples=3, groups=4, cells=9, generator=generator),
        random_mask(torch.rand(3, 36, generator=generator), ratio),
        cell_mask(torch.rand(3, 9, generator=generator), 4, ratio),
    ]
    for mask in masks:
        assert torch.equal(mask.ids_restore.sort(dim=1).values, torch.arange(36).expand(3, -1))
        visible = mask.removed.gather(1, mask.ids_keep)
        assert not visible.any()
        assert mask.removed.sum() == 3 * (36 - mask.ids_keep.shape[1])


def test_whole_cells_are_masked_and_the_smallest_noise_is_visible() -> None:
    noise = torch.tensor([[0.3, 0.1, 0.2]])
    removed = cell_mask(noise, groups=4, ratio=1 / 3).removed.reshape(4, 3)
    assert removed.tolist() == [[1.0, 0.0, 0.0]] * 4


def test_the_encoder_never_sees_a_removed_token() -> None:
    model = hsimae.HSIMAE(SMALL).eval()
    mask = model.draw_mask(2, 0.5)
    imgs = windows(2)
    removed = SMALL.join(mask.removed.unsqueeze(-1).expand(-1, -1, SMALL.values))
    with torch.no_grad():
        visible = model.encode_visible(SMALL.cut(imgs), mask)
        disturbed = model.encode_visible(SMALL.cut(imgs + 5 * removed), mask)
        shifted = model.encode_visible(SMALL.cut(imgs + 5 * (1 - removed)), mask)
    assert torch.equal(visible, disturbed)
    assert not torch.allclose(visible, shifted)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_that_of_the_removed_tokens_in_the_units_it_states(normalise: bool) -> None:
    config = HSIMAEConfig(
        embed_dim=32, depth=2, num_heads=2, s_depth=1, decoder_depth=1, norm_pix_loss=normalise
    )
    model = hsimae.HSIMAE(config).eval()
    imgs = windows(3)
    with torch.no_grad():
        loss, pred, removed = model(imgs, mask=model.draw_mask(3, 0.5))
    error = (config.cut(pred) - config.cut(imgs)).square()
    if normalise:
        error = error / config.cut(imgs).var(dim=-1, keepdim=True)
    torch.testing.assert_close(error[config.cut(removed) == 1].mean(), loss, atol=1e-4, rtol=1e-3)


def test_dual_branch_classifies_as_the_plain_classifier_with_the_same_weights() -> None:
    dual = hsimae.DualViT(SMALL, 5).eval()
    plain = hsimae.HSIViT(SMALL, 5).eval()
    plain.load_state_dict({name: dual.state_dict()[name] for name in plain.state_dict()})
    imgs = windows(4)
    with torch.no_grad():
        torch.testing.assert_close(dual(imgs, windows(3, seed=1)).logits, plain(imgs))


def test_every_trainable_parameter_of_dual_fine_tuning_gets_a_gradient() -> None:
    for model, bands in ((hsimae.DualViT(SMALL, 4), 32), (hsimae_v1.DualHSIMAE(SMALL_V1, 4), 64)):
        output = model(windows(2, bands), windows(2, bands, seed=1))
        (output.loss_rec + output.logits.square().mean()).backward()
        idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == []
        assert output.pred.shape == output.mask.shape == (4, 1, bands, 9, 9)


def test_drop_path_drops_whole_samples_in_training_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    dropped = drop(x)
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample, per_sample[:, :1].expand_as(per_sample))
    assert sorted(set(per_sample[:, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(x) is x


def test_drop_path_grows_linearly_with_depth() -> None:
    model = hsimae.HSIViT(HSIMAEConfig(depth=5, s_depth=3, embed_dim=16, num_heads=1), 2, drop_path=0.4)
    stacks = (model.blocks_1, model.blocks_2, model.blocks)
    rates = [[block.drop_path.rate for block in stack] for stack in stacks]
    assert rates[0] == rates[1] == pytest.approx([0.0, 0.1, 0.2])
    assert rates[2] == pytest.approx([0.3, 0.4])


def test_initial_weights_follow_the_stated_rules() -> None:
    torch.manual_seed(0)
    truncated = hsimae.HSIMAE(HSIMAEConfig())
    linear = truncated.blocks[0].attn.q
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()
    embedding = truncated.patch_embed.proj.weight
    assert embedding.abs().max() <= 2
    assert embedding.std().item() == pytest.approx(0.88, rel=0.03)  # unit deviation cut at two
    xavier = hsimae.HSIMAE(HSIMAEConfig(trunc_init=False)).blocks[0].attn.q.weight
    assert xavier.abs().max().item() == pytest.approx(math.sqrt(6 / 256), rel=0.01)


@pytest.mark.parametrize(
    ("model", "bands"), [(hsimae.HSIViT(SMALL, 3), 64), (hsimae_v1.HSIViT(SMALL_V1, 3), 32)]
)
def test_windows_of_another_band_count_are_refused(model: torch.nn.Module, bands: int) -> None:
    with pytest.raises(ModelError, match=rf"takes windows of \d+ bands.*\(2, 1, {bands}, 9, 9\)"):
        model(windows(2, bands))
