import logging
import re

import pytest
import torch
from mmdet.engine.optimizers import LearningRateDecayOptimizerConstructor as MMDetConstructor
from mmengine.optim import build_optim_wrapper
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor as MMSegConstructor
from torch import nn

from mmconvnext import ConvNeXt, LayerDecayOptimWrapperConstructor
from mmconvnext.backbones import ARCHITECTURES

OPTIMIZER = dict(type='AdamW', lr=2e-4, weight_decay=0.05)


class Detector(nn.Module):
    """A model shaped like mmdet's and mmseg's: a backbone and something after it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Conv2d(32, 8, 3), nn.BatchNorm2d(8))


class Wrapper(nn.Module):
    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector


class Transformer(nn.Module):
    """A backbone of another kind, with mmpretrain's ``get_layer_depth``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        return int(param_name[len(prefix) :].split('.')[1]), 5


def groups_by_name(model: nn.Module, constructor=LayerDecayOptimWrapperConstructor, **paramwise):
    """(learning rate, weight decay) of every parameter that the optimizer has."""
    wrapper = constructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(decay_rate=0.9) | paramwise
    )(model)
    return {
        name: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for name in group['param_names']
    }


@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
@pytest.mark.parametrize('arch', ARCHITECTURES)
@pytest.mark.parametrize('oracle', [MMDetConstructor, MMSegConstructor], ids=['mmdet', 'mmseg'])
def test_matches_stock_constructor(arch: str, decay_type: str, oracle: type) -> None:
    with torch.device('meta'):
        model = Detector(ConvNeXt(arch))
    num_layers = 12 if ARCHITECTURES[arch].depths[2] > 9 else 6
    options = dict(decay_rate=0.8, decay_type=decay_type, num_layers=num_layers)
    logging.disable()  # the stock ones log every parameter
    expected = groups_by_name(model, oracle, **options)
    logging.disable(logging.NOTSET)
    assert groups_by_name(model, **options) == expected
    del options['num_layers']
    assert groups_by_name(model, **options) == expected, 'num_layers left out'


def test_matches_get_layer_depth() -> None:
    with torch.device('meta'):
        model = Detector(ConvNeXt('small'))
    rates = groups_by_name(model)
    for name, _ in model.named_parameters():
        depth, count = model.backbone.get_layer_depth(name, 'backbone.')
        assert rates[name][0] == pytest.approx(2e-4 * 0.9 ** (count - 1 - depth), rel=1e-12)


def test_stage_wise_formula(small_backbone) -> None:
    rates = groups_by_name(Detector(small_backbone()), decay_type='stage_wise')
    assert rates['backbone.downsample_layers.3.1.weight'][0] == pytest.approx(2e-4 * 0.9**7)
    assert rates['backbone.stages.3.0.pwconv1.weight'][0] == pytest.approx(2e-4 * 0.9**3)
    assert rates['backbone.norm3.weight'] == (2e-4, 0)
    assert rates['head.0.weight'] == (2e-4, 0.05)


def test_block_wise_formula() -> None:
    """As optim_factory.py of ConvNeXt-V2 @2553895 has it for T, depths 3, 3, 9, 3."""
    with torch.device('meta'):
        model = Detector(ConvNeXt('tiny', use_grn=True))
    rates = groups_by_name(model, decay_type='block_wise')
    powers = {
        'backbone.downsample_layers.0.0.weight': 18,
        'backbone.stages.0.0.pwconv1.weight': 18,
        'backbone.stages.0.2.pwconv1.weight': 16,
        'backbone.downsample_layers.1.1.weight': 15,
        'backbone.stages.1.0.pwconv1.weight': 15,
        'backbone.stages.2.8.pwconv1.weight': 4,
        'backbone.downsample_layers.3.1.weight': 3,
        'backbone.stages.3.2.pwconv1.weight': 1,
        'head.0.weight': 0,
    }
    assert {n: rates[n][0] for n in powers} == {
        name: pytest.approx(2e-4 * 0.9**power, rel=1e-12) for name, power in powers.items()
    }
    assert len({rate for rate, _ in rates.values()}) == 19
    assert rates['backbone.norm3.weight'] == (2e-4, 0)


TABLE = [
    re.split(r'\s{2,}', line.strip())
    for line in LayerDecayOptimWrapperConstructor.__doc__.splitlines()
    if re.match(r'\s+(downsample_layers|stages|all else)\b', line)
]


@pytest.mark.parametrize(
    ('column', 'arch', 'options'),
    [
        (1, 'tiny', dict(decay_type='layer_wise', num_layers=6)),
        (2, 'small', dict(decay_type='layer_wise', num_layers=12)),
        (3, 'tiny', dict(decay_type='stage_wise')),
        (3, 'small', dict(decay_type='stage_wise')),
        (4, 'tiny', dict(decay_type='block_wise')),
    ],
)
def test_docstring_s_table_has_the_ids(column: int, arch: str, options: dict) -> None:
    with torch.device('meta'):
        model = Detector(ConvNeXt(arch))
    depths = ARCHITECTURES[arch].depths
    n = 12 if depths[2] > 9 else 6
    expected = {}
    for part, *cells in TABLE:
        blocks = range(depths[int(part[7])]) if part.startswith('stages') else [0]
        for b in blocks:
            place = f'backbone.{re.sub(r"b$", str(b), part)}.'
            expected[place] = eval(cells[column - 1], dict(b=b, N=n))
    assert len(expected) == 4 + sum(depths) + 1
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(decay_rate=0.9) | options
    )
    for group in constructor(model).optimizer.param_groups:
        for name in group['param_names']:
            layer = next((i for place, i in expected.items() if name.startswith(place)), None)
            layer = expected['backbone.all else.'] if layer is None else layer
            assert group['group_name'].startswith(f'layer_{layer}_'), name


def test_grn_and_layer_scale_never_decay(small_backbone) -> None:
    for use_grn in (False, True):
        rates = groups_by_name(Detector(small_backbone(use_grn=use_grn)))
        special = [n for n in rates if n.endswith(('gamma', 'beta'))]
        assert special
        assert all(rates[name][1] == 0 for name in special)


def test_biases_of_any_shape_never_decay(small_backbone) -> None:
    model = Detector(small_backbone())
    model.head.bias = nn.Parameter(torch.ones(2, 2))
    model.head.bias_table = nn.Parameter(torch.ones(2, 2))
    rates = groups_by_name(model)
    assert rates['head.bias'] == (2e-4, 0)
    assert rates['head.bias_table'] == (2e-4, 0.05)


def test_frozen_parameters_are_in_no_group(small_backbone) -> None:
    model = Detector(small_backbone(frozen_stages=2))
    rates = groups_by_name(model)
    assert set(rates) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert 'backbone.downsample_layers.0.0.weight' not in rates


def test_finds_the_backbone_wherever_it_sits(small_backbone) -> None:
    model = Detector(small_backbone())
    expected = groups_by_name(model)
    assert groups_by_name(Wrapper(model)) == {f'detector.{n}': v for n, v in expected.items()}
    bare = groups_by_name(model.backbone)
    assert bare == {n[9:]: v for n, v in expected.items() if n.startswith('backbone.')}


def test_finds_the_backbone_under_ddp(small_backbone, tmp_path) -> None:
    model = Detector(small_backbone())
    store = torch.distributed.FileStore(str(tmp_path / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert groups_by_name(wrapped) == groups_by_name(model)
        assert len(groups_by_name(Wrapper(wrapped))) == len(list(model.parameters()))
    finally:
        torch.distributed.destroy_process_group()


def test_groups_come_heads_first(small_backbone) -> None:
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(decay_rate=0.7)
    )
    groups = constructor(Detector(small_backbone())).optimizer.param_groups
    assert groups[0]['lr'] == 2e-4
    assert [g['lr'] for g in groups] == sorted((g['lr'] for g in groups), reverse=True)


def test_custom_keys_multiply(small_backbone) -> None:
    model = Detector(small_backbone())
    plain = groups_by_name(model)
    rates = groups_by_name(
        model,
        custom_keys={
            'head': dict(lr_mult=10.0),
            'head.0.weight': dict(lr_mult=2.0, decay_mult=0.5),
            'stages.0': dict(lr_mult=0.5),
        },
    )
    assert rates['head.1.weight'] == (2e-3, 0)
    assert rates['head.0.weight'] == (4e-4, 0.025)
    name = 'backbone.stages.0.0.pwconv1.weight'
    assert rates[name] == (pytest.approx(plain[name][0] / 2), plain[name][1])


def test_custom_keys_match_mmengine_on_the_heads(small_backbone) -> None:
    from mmengine.optim import DefaultOptimWrapperConstructor

    model = Detector(small_backbone())
    keys = {'head': dict(lr_mult=10.0), 'head.0.w': dict(lr_mult=2.0, decay_mult=0.0)}
    ours = groups_by_name(model, custom_keys=keys)
    wrapper = DefaultOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(custom_keys=keys, flat_decay_mult=0.0)
    )(model)
    names = {id(p): n for n, p in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        name = names[id(group['params'][0])]
        if name.startswith('head'):
            assert ours[name][0] == group['lr'], name


def test_custom_entries_reach_the_group(small_backbone) -> None:
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER),
        dict(decay_rate=0.9, custom_keys={'head': dict(eps=1e-3)}),
    )
    groups = constructor(Detector(small_backbone())).optimizer.param_groups
    assert {g['eps'] for g in groups if 'head.0.weight' in g['param_names']} == {1e-3}
    assert {g['eps'] for g in groups if 'backbone.norm0.weight' in g['param_names']} == {1e-8}


def test_other_backbones_by_get_layer_depth() -> None:
    rates = groups_by_name(Detector(Transformer()))
    for layer in range(3):
        assert rates[f'backbone.layers.{layer}.weight'][0] == pytest.approx(
            2e-4 * 0.9 ** (4 - layer)
        )
    for kind in ('stage_wise', 'block_wise'):
        with pytest.raises(ValueError, match=f"'layer_wise' with Transformer, got '{kind}'"):
            groups_by_name(Detector(Transformer()), decay_type=kind)
    with pytest.raises(ValueError, match='Transformer counts its own layers'):
        groups_by_name(Detector(Transformer()), num_layers=12)


@pytest.mark.parametrize('layers', [3, 12])
def test_unsuited_num_layers_warns(small_backbone, layers: int) -> None:
    message = f'num_layers={layers} does not suit depths .* the paper uses 6'
    with pytest.warns(UserWarning, match=message):
        groups_by_name(Detector(small_backbone()), num_layers=layers)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(decay_rate=None), r'decay_rate in \(0, 1\], got None'),
        (dict(decay_rate=1.5), 'got 1.5'),
        (dict(decay_rate=0), 'got 0'),
        (dict(decay_type='single'), "'stage_wise', 'block_wise', got 'single'"),
        (dict(decay_type='block_wise', num_layers=6), 'expected no num_layers'),
        (dict(num_layers=2), 'num_layers of 3 or more, got 2'),
        (dict(norm_decay_mult=0.0), 'expected decay_rate, .* got norm_decay_mult'),
        (
            dict(custom_keys={'decode_haed': dict(lr_mult=2.0)}),
            r"'decode_haed'.*like \['backbone[^,]*', 'backbone[^,]*'\]$",
        ),
        (dict(custom_keys={'head': dict(lr_multi=2.0)}), 'lr_multi'),
        (
            dict(custom_keys={'head': dict(lr=1.0, params=[], weight_decay=1.0)}),
            'got lr, params, weight_decay',
        ),
    ],
)
def test_what_is_not_understood_raises(small_backbone, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        groups_by_name(Detector(small_backbone()), **options)


@pytest.mark.parametrize('missing', ['lr', 'weight_decay'])
def test_an_optimizer_without_base_values_raises(small_backbone, missing: str) -> None:
    optimizer = {key: value for key, value in OPTIMIZER.items() if key != missing}
    with pytest.raises(ValueError, match='expected lr and weight_decay to be given'):
        LayerDecayOptimWrapperConstructor(
            dict(type='OptimWrapper', optimizer=optimizer), dict(decay_rate=0.9)
        )(Detector(small_backbone()))


def test_a_deep_third_stage_warns_of_layers_above_the_heads() -> None:
    def model(blocks: int) -> Detector:
        with torch.device('meta'):
            return Detector(ConvNeXt(dict(depths=(1, 1, blocks, 1), channels=(8, 16, 24, 32))))

    groups_by_name(model(33))  # the last block has the heads' id, 3 + 32 // 3
    for blocks, expected in ((34, 14), (40, 16)):
        message = f'num_layers=12 .* faster than the heads; expected {expected}'
        with pytest.warns(UserWarning, match=message):
            groups_by_name(model(blocks))
        groups_by_name(model(blocks), decay_type='stage_wise')  # knows stages alone


def test_finds_the_backbone_of_a_classifier_that_passes_depths_on(small_backbone) -> None:
    class Classifier(Detector):
        def get_layer_depth(self, param_name: str) -> tuple[int, int]:
            return self.backbone.get_layer_depth(param_name, 'backbone.')

    model = Classifier(small_backbone())
    assert groups_by_name(model) == groups_by_name(Detector(model.backbone)) | {
        name: rates for name, rates in groups_by_name(model).items() if name.startswith('head')
    }


def test_a_parameter_in_no_group_or_in_two_raises(small_backbone, monkeypatch) -> None:
    model = Detector(small_backbone())
    check = LayerDecayOptimWrapperConstructor._check_coverage
    parameters = list(model.parameters())
    check([{'params': parameters}], model)
    for wrong in (parameters[1:], parameters + parameters[:1]):
        with pytest.raises(ValueError, match='every trainable parameter in exactly one group'):
            check([{'params': wrong}], model)
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(decay_rate=0.9)
    )
    with pytest.raises(ValueError, match='every trainable parameter in exactly one group'):
        constructor.add_params([{'params': parameters[:1], 'lr_scale': 1.0}], model)


def test_group_names_say_which_layer(small_backbone) -> None:
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(decay_rate=0.7)
    )
    groups = constructor(Detector(small_backbone())).optimizer.param_groups
    names = {group['group_name']: group['param_names'] for group in groups}
    assert len(names) == len(groups)
    assert 'head.0.weight' in names['layer_7_decay']
    assert 'head.0.bias' in names['layer_7_no_decay']
    assert 'backbone.downsample_layers.0.0.weight' in names['layer_0_decay']


def test_a_model_without_layers_to_tell_apart_raises() -> None:
    with pytest.raises(ValueError, match='expected a backbone with downsample_layers'):
        groups_by_name(Detector(nn.Linear(2, 2)))


def test_builds_by_its_name_from_any_scope(small_backbone) -> None:
    wrapper = build_optim_wrapper(
        Detector(small_backbone()),
        dict(
            type='OptimWrapper',
            optimizer=OPTIMIZER,
            constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(decay_rate=0.9),
        ),
    )
    assert all('lr_scale' in group for group in wrapper.optimizer.param_groups)
