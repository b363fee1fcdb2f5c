import copy

import pytest
import torch
from torch import nn

from mmconvnext import ConvNeXt
from mmconvnext.analysis.cost.complexity import count_macs, count_parameters
from mmconvnext.backbones import ARCHITECTURES
from mmconvnext.errors import ArgumentError

# Parameters of the published classifiers in millions and their GMACs at 224²; the classifier has
# a final norm and a 1000-way head in place of norm0–3. V1: arXiv 2201.03545, table 1, to two
# digits as in the official code; V2: arXiv 2301.00808, tables 1 and 5.
PUBLISHED = {
    ('tiny', False): (28.59, 4.46),
    ('small', False): (50.22, 8.7),
    ('base', False): (88.59, 15.4),
    ('large', False): (197.77, 34.4),
    ('xlarge', False): (350.20, 60.9),
    ('atto', True): (3.7, 0.55),
    ('femto', True): (5.2, 0.78),
    ('pico', True): (9.1, 1.37),
    ('nano', True): (15.6, 2.45),
    ('huge', True): (660, 115),
}


@pytest.mark.parametrize(('arch', 'use_grn'), PUBLISHED)
def test_parameters_and_macs_equal_the_published(arch: str, use_grn: bool) -> None:
    with torch.device('meta'):
        backbone = ConvNeXt(arch, use_grn=use_grn)
    parameters, gmacs = PUBLISHED[arch, use_grn]
    width = backbone.channels[-1]
    norms = 2 * sum(backbone.channels)
    classifier = count_parameters(backbone) - norms + 2 * width + 1000 * width + 1000
    macs = count_macs(backbone, torch.empty(1, 3, 224, 224, device='meta')) + 1000 * width
    digits = len(str(parameters).split('.')[1]) if isinstance(parameters, float) else -1
    assert round(classifier / 1e6, digits) == parameters
    assert round(macs / 1e9, len(str(gmacs).partition('.')[2])) == gmacs


def test_tiny_has_the_parameters_of_the_reference() -> None:
    with torch.device('meta'):
        assert round(count_parameters(ConvNeXt('tiny')) / 1e6, 3) == 27.821


@pytest.mark.parametrize(('arch', 'eps'), [('tiny', 1e-6), ('xxlarge', 1e-5)])
def test_epsilon(arch: str, eps: float) -> None:
    with torch.device('meta'):
        backbone = ConvNeXt(arch)
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.LayerNorm)} == {eps}


@pytest.mark.parametrize('size', [(32, 32), (33, 63), (97, 131), (64, 96)])
def test_output_shapes_round_down_at_every_step(small_backbone, size: tuple[int, int]) -> None:
    outputs = small_backbone()(torch.randn(2, 3, *size))
    height, width = size[0] // 4, size[1] // 4
    for channels, y in zip((8, 16, 24, 32), outputs):
        assert y.shape == (2, channels, height, width)
        height, width = height // 2, width // 2


def test_too_small_an_input_gets_an_answer(small_backbone) -> None:
    with pytest.raises(ValueError, match=r'at least 32 × 32 pixels, got 64 × 31'):
        small_backbone()(torch.randn(1, 3, 64, 31))
    assert small_backbone(out_indices=(0,))(torch.randn(1, 3, 4, 7))[0].shape == (1, 8, 1, 1)


@pytest.mark.parametrize(
    ('given', 'stages'),
    [((0, 1, 2, 3), (0, 1, 2, 3)), (-1, (3,)), ((-4, -2), (0, 2)), ([3, 1], (3, 1)), (0, (0,))],
)
@pytest.mark.parametrize('use_grn', [False, True])
def test_out_indices_leave_no_parameter_unused(small_backbone, given, stages, use_grn) -> None:
    backbone = small_backbone(out_indices=given, use_grn=use_grn)
    outputs = backbone(torch.randn(1, 3, 32, 32))
    assert [y.shape[1] for y in outputs] == [(8, 16, 24, 32)[stage] for stage in stages]
    assert [n for n in range(4) if hasattr(backbone, f'norm{n}')] == sorted(stages)
    sum(y.square().sum() for y in outputs).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


def test_outputs_are_normalised(small_backbone) -> None:
    for y in small_backbone()(torch.randn(1, 3, 64, 64)):
        torch.testing.assert_close(y.mean(1), torch.zeros_like(y.mean(1)), atol=1e-4, rtol=0)


def test_layer_scale_defaults() -> None:
    with torch.device('meta'):
        v1, v2 = ConvNeXt('atto'), ConvNeXt('atto', use_grn=True)
    assert any('gamma' in name for name, _ in v1.named_parameters())
    assert not any('gamma' in n and 'grn' not in n for n, _ in v2.named_parameters())
    block = ConvNeXt(dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))).stages[0][0]
    assert torch.equal(block.gamma, torch.full((8,), 1e-6))


def test_drop_path_rates_grow_linearly() -> None:
    with torch.device('meta'):
        backbone = ConvNeXt('tiny', drop_path_rate=0.4)
    rates = [block.drop_path.p for stage in backbone.stages for block in stage]
    torch.testing.assert_close(torch.tensor(rates), torch.linspace(0, 0.4, 18))


def test_train_and_eval_return_self(small_backbone) -> None:
    backbone = small_backbone()
    assert backbone.train() is backbone
    assert backbone.eval() is backbone


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2, 4])
def test_frozen_stages_survive_train(small_backbone, frozen: int) -> None:
    backbone = small_backbone(frozen_stages=frozen, drop_path_rate=0.5).train()
    expected = {'downsample_layers.0'} if frozen >= 0 else set()
    for stage in range(frozen):
        expected |= {f'downsample_layers.{stage}', f'stages.{stage}', f'norm{stage}'}
    for name, module in backbone.named_modules():
        if not name or isinstance(module, nn.ModuleList):
            continue
        inside = any(f'{name}.'.startswith(f'{part}.') for part in expected)
        assert module.training is not inside, name
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad is not any(name.startswith(f'{p}.') for p in expected), name


def loss_and_kept_bytes(backbone: torch.nn.Module, image: torch.Tensor) -> tuple:
    """A loss, and the bytes that its backward pass keeps besides the parameters."""
    parameters = {parameter.data_ptr() for parameter in backbone.parameters()}
    nbytes = 0

    def count(x: torch.Tensor) -> torch.Tensor:
        nonlocal nbytes
        nbytes += 0 if x.data_ptr() in parameters else x.nbytes
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        loss = sum(y.square().mean() for y in backbone(image))
    return loss, nbytes


@pytest.mark.parametrize('use_grn', [False, True])
@pytest.mark.parametrize('fast', [False, True])
def test_checkpointing_changes_no_gradient(small_backbone, use_grn: bool, fast: bool) -> None:
    options = dict(use_grn=use_grn, drop_path_rate=0.3, fast=fast)
    plain = small_backbone(**options)
    frugal = small_backbone(**options, with_cp=True)
    frugal.load_state_dict(plain.state_dict())
    image = torch.randn(4, 3, 64, 64)
    saved = []
    for backbone in (plain, frugal):
        torch.manual_seed(7)
        loss, nbytes = loss_and_kept_bytes(backbone, image)
        saved.append(nbytes)
        loss.backward()
    for (name, a), b in zip(plain.named_parameters(), frugal.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name, rtol=0, atol=0)
    # The fast block keeps little to begin with.
    assert saved[1] < (0.75 if fast else 0.5) * saved[0], saved


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('use_grn', [False, True])
def test_half_precision_follows_float32(small_backbone, dtype, use_grn: bool) -> None:
    backbone = small_backbone(use_grn=use_grn)
    image = torch.randn(1, 3, 64, 64)
    expected = backbone(image)
    with torch.autocast('cpu', dtype):
        mixed = backbone(image)
    pure = backbone.to(dtype)(image.to(dtype))
    for ours in (mixed, pure):
        for a, b in zip(ours, expected):
            # As in the official code, γ in float32 keeps V1's residual path in float32.
            assert a.dtype == (torch.float32 if ours is mixed and not use_grn else dtype)
            assert (a.float() - b).abs().mean() < (0.02 if dtype == torch.bfloat16 else 0.003)


def test_exported_model_equals_eager(small_backbone) -> None:
    backbone = small_backbone(use_grn=True).eval()
    image = torch.randn(1, 3, 33, 47)
    exported = torch.export.export(backbone, (image,)).module()
    for a, b in zip(exported(image), backbone(image)):
        torch.testing.assert_close(a, b)


def test_init_weights_draws_truncated_normal(small_backbone) -> None:
    backbone = small_backbone()
    backbone.init_weights()
    weights = torch.cat([b.pwconv1.weight.flatten() for s in backbone.stages for b in s])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    assert all((m.bias == 0).all() for m in backbone.modules() if isinstance(m, nn.Linear))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='gigantic'), "expected one of atto, .*, got 'gigantic'; for another size"),
        (dict(arch=dict(depths=(1, 2, 3), channels=(8,) * 4)), 'four positive integers in .depths'),
        (
            dict(arch=dict(depths=(1,) * 4, channels=(8, 8, 8, 0))),
            'four positive integers in .channels',
        ),
        (dict(arch=dict(depths=(1,) * 4)), 'expected a name or dict'),
        (dict(arch=dict(depths=3, channels=(8,) * 4)), 'four positive integers in .depths'),
        (dict(out_indices=(0, 4)), r'different stages from 0 to 3 .*, got \(0, 4\)'),
        (dict(out_indices=(3, -1)), 'different stages'),
        (dict(out_indices=()), 'different stages'),
        (dict(frozen_stages=5), 'up to 4 .*got 5'),
        (dict(arch=dict(depths='abcd', channels=(8,) * 4)), 'four positive integers in .depths'),
        (dict(out_indices=None), 'different stages'),
        (dict(out_indices=(0, 1.5)), 'different stages'),
        (dict(layer_scale_init_value=-1.0), 'expected 0 or more, or None, got -1'),
        (dict(drop_path_rate=-0.1), r'expected \[0, 1\), got -0.1'),
        (dict(drop_path_rate=1.0), r'expected \[0, 1\), got 1'),
        (dict(in_channels=0), 'in_channels: expected'),
        (dict(gap_before_final_norm=True), 'expected False, got True'),
        (dict(linear_pw_conv=False), '1×1 convolutions: the same numbers; leave the argument out'),
    ],
)
def test_bad_arguments_get_an_answer(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNeXt(**options)


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_every_architecture_builds_and_runs(arch: str) -> None:
    with torch.device('meta'):
        outputs = ConvNeXt(arch)(torch.empty(1, 3, 64, 64, device='meta'))
    assert tuple(y.shape[1] for y in outputs) == ARCHITECTURES[arch].channels


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_maps_are_contiguous(small_backbone, memory_format) -> None:
    """mmcv's compiled operators take any map for one that is (open-mmlab/mmcv #2203)."""
    x = torch.randn(2, 3, 64, 96).to(memory_format=memory_format)
    assert all(y.is_contiguous() for y in small_backbone().to(memory_format=memory_format)(x))


def test_the_last_norm_handed_over_leaves_the_map_raw(small_backbone) -> None:
    backbone, whole = small_backbone(out_indices=(3,)), small_backbone(out_indices=(3,))
    nn.init.normal_(whole.norm3.weight)
    backbone.load_state_dict(whole.state_dict())
    norm = backbone.take_last_norm()
    assert backbone.take_last_norm() is norm
    assert not [name for name in backbone.state_dict() if name.startswith('norm')]
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(norm(backbone(x)[0]), whole(x)[0])
    backbone.eval().switch_to_deploy()
    torch.testing.assert_close(norm(backbone(x)[0]), whole(x)[0])


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (2,)])
def test_only_a_lone_last_norm_is_handed_over(small_backbone, out_indices) -> None:
    with pytest.raises(ArgumentError, match=r'expected \(3,\) under a classifier'):
        small_backbone(out_indices=out_indices).take_last_norm()


def test_a_copy_has_a_norm_of_its_own(small_backbone) -> None:
    """As mmengine averages a copy of the model."""
    holder = nn.Module()
    holder.backbone = small_backbone(out_indices=(3,))
    holder.norm = holder.backbone.take_last_norm()
    copied = copy.deepcopy(holder)
    assert copied.backbone.take_last_norm() is copied.norm
    assert copied.norm is not holder.norm
