import ast
import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise

import pytest
import torch
from torch import nn

from mmconvnext import ConvNeXt
from mmconvnext.analysis.cost.complexity import count_macs, count_parameters
from mmconvnext.classification import ImageClassifier
from mmconvnext.errors import CheckpointError
from mmconvnext.optim import LayerDecayOptimWrapperConstructor
from mmconvnext.studies.roadmap import RoadmapNet
from mmconvnext.studies.roadmap import block as roadmap_block
from mmconvnext.studies.roadmap import network as roadmap
from mmconvnext.studies.roadmap import steps as roadmap_steps
from mmconvnext.studies.roadmap.steps import REGIMES, ROADMAP

# Multiply-accumulates at 224², the classifier's included, of ResNet-50's regime; of ResNet-200's
# in billions. Recounted from the architectures of arXiv 2201.03545v2, tables 10 and 11, which
# agree but for the last two rows of table 10 (4.46 and 4.49).
MACS = {
    'resnet50': (4_089_184_256, 15.007),
    'stage_ratio': (4_525_916_160, 14.518),
    'patchify_stem': (4_417_536_000, 14.376),
    'depthwise': (2_349_507_072, 7.234),
    'width': (5_267_976_960, 16.764),
    'inverted_bottleneck': (4_644_406_272, 15.679),
    'depthwise_up': (4_065_080_448, 14.627),
    'kernel_5': (4_097_293_440, 14.699),
    'kernel_7': (4_145_612_928, 14.807),
    'kernel_9': (4_210_038_912, 14.950),
    'kernel_11': (4_290_571_392, 15.130),
    'gelu': (4_145_612_928, 14.807),
    'fewer_activations': (4_145_612_928, 14.807),
    'fewer_norms': (4_145_612_928, 14.807),
    'layer_norm': (4_145_612_928, 14.807),
    'separate_downsampling': (4_455_531_264, 15.355),
}
NAMES = list(MACS)
NORMALISED = NAMES[NAMES.index('layer_norm') :]


def meta(step: str, regime: str = 'resnet50', **options: object) -> RoadmapNet:
    with torch.device('meta'):
        return RoadmapNet(step, regime, **options)


def macs(step: str, regime: str) -> int:
    net = meta(step, regime)
    image = torch.empty(1, 3, 224, 224, device='meta')
    return count_macs(net, image) + 1000 * net.channels[-1]


def test_names_are_in_the_papers_order() -> None:
    assert [step.name for step in ROADMAP] == NAMES
    assert [step.name for step in ROADMAP if not step.kept] == ['kernel_9', 'kernel_11']
    with pytest.raises(FrozenInstanceError):
        ROADMAP[0].name = 'another'
    assert copy.deepcopy(ROADMAP) == pickle.loads(pickle.dumps(ROADMAP)) == ROADMAP
    assert len(set(ROADMAP)) == len(ROADMAP)
    with pytest.raises(FrozenInstanceError):
        ROADMAP[0].designs['resnet50'].kernel = 5


@pytest.mark.parametrize('step', NAMES)
def test_macs_equal_the_published(step: str) -> None:
    exact, billions = MACS[step]
    assert macs(step, 'resnet50') == exact
    assert round(macs(step, 'resnet200') / 1e9, 3) == billions


@pytest.mark.parametrize('regime', REGIMES)
def test_each_step_is_the_previous_one_and_one_change(regime: str) -> None:
    # Beside the field that is meant: the width that keeps the larger network's compute, and layer
    # scale.
    beside = {('resnet200', 'stage_ratio'): {'width'}}
    beside |= {(regime, 'separate_downsampling'): {'layer_scale'} for regime in REGIMES}
    for before, step in pairwise(ROADMAP):
        if step.name == 'gelu':
            before = next(one for one in ROADMAP if one.name == 'kernel_7')
        old, new = before.designs[regime], step.designs[regime]
        changed = {
            field.name
            for field in fields(new)
            if getattr(old, field.name) != getattr(new, field.name)
        }
        assert len(changed - beside.get((regime, step.name), set())) == 1, step.name


@pytest.mark.parametrize(('regime', 'arch'), [('resnet50', 'tiny'), ('resnet200', 'base')])
def test_last_step_equals_convnext_in_parameters(regime: str, arch: str) -> None:
    with torch.device('meta'):
        convnext = ConvNeXt(arch)
    ours = meta('separate_downsampling', regime)
    assert ours.depths == convnext.depths
    assert ours.channels == convnext.channels
    assert count_parameters(ours) == count_parameters(convnext)
    assert sorted(p.numel() for p in ours.parameters()) == sorted(
        p.numel() for p in convnext.parameters()
    )


def to_convnext(name: str) -> str:
    """ConvNeXt's name of a parameter of the last step."""
    part, *rest = name.split('.')
    if part == 'stem':
        return '.'.join(['downsample_layers.0', *rest])
    if part == 'downsampling':
        return '.'.join(['downsample_layers', *rest])
    for ours, theirs in (
        ('convs.0', 'dwconv'),
        ('convs.1', 'pwconv1'),
        ('convs.2', 'pwconv2'),
        ('norms.0', 'norm'),
    ):
        name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize(('regime', 'arch'), [('resnet50', 'tiny'), ('resnet200', 'base')])
@pytest.mark.parametrize('fast', [True, False])
def test_matches_convnext(regime: str, arch: str, fast: bool) -> None:
    ours = RoadmapNet('separate_downsampling', regime, layer_scale_init_value=1.0).eval()
    ours.init_weights()
    theirs = ConvNeXt(arch, layer_scale_init_value=1.0, fast=fast).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    shapes = {name: p.shape for name, p in theirs.named_parameters()}
    state = {to_convnext(n): p for n, p in ours.state_dict().items()}
    theirs.load_state_dict({name: p.reshape(shapes[name]) for name, p in state.items()})
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        for got, expected in zip(ours(image), theirs(image), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_the_roadmap_knows_no_convnext() -> None:
    for module in (roadmap, roadmap_block, roadmap_steps):
        tree = ast.parse(inspect.getsource(module))
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        known = [name for name in imported if name.startswith('mmconvnext.backbones.')]
        assert [name for name in known if name.endswith(('convnext', '.block'))] == []


@pytest.mark.parametrize('step', NAMES)
def test_every_parameter_gets_a_gradient_and_maps_have_their_shapes(step: str) -> None:
    net = RoadmapNet(step, drop_path_rate=0.0)
    net.init_weights()
    outputs = net(torch.randn(2, 3, 64, 96))
    assert [y.shape for y in outputs] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(net.channels, (4, 8, 16, 32))
    ]
    assert all(y.is_contiguous() for y in outputs)
    normalised = all(y.mean(1).abs().max() < 1e-4 for y in outputs)
    assert normalised == (step in NORMALISED)
    assert [n for n in range(4) if hasattr(net, f'norm{n}')] == ([0, 1, 2, 3] if normalised else [])
    sum(y.square().sum() for y in outputs).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_odd_sizes_round_up_in_blocks_and_down_in_patches() -> None:
    image = torch.empty(1, 3, 97, 131, device='meta')
    up = [tuple(y.shape[2:]) for y in meta('resnet50')(image)]
    assert up == [(25, 33), (13, 17), (7, 9), (4, 5)]
    down = [tuple(y.shape[2:]) for y in meta('separate_downsampling')(image)]
    assert down == [(24, 32), (12, 16), (6, 8), (3, 4)]


@pytest.mark.parametrize('step', ['inverted_bottleneck', 'separate_downsampling'])
def test_out_indices_leave_no_parameter_unused(step: str) -> None:
    net = RoadmapNet(step, out_indices=(1, 0))
    outputs = net(torch.randn(2, 3, 32, 32))
    assert [y.shape[1] for y in outputs] == [net.channels[1], net.channels[0]]
    sum(y.square().sum() for y in outputs).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize('step', ['patchify_stem', 'fewer_norms', 'separate_downsampling'])
def test_checkpointing_changes_no_gradient_and_no_statistic(step: str) -> None:
    results = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = RoadmapNet(step, out_indices=(0, 1), with_cp=with_cp, drop_path_rate=0.3).train()
        net.init_weights()
        x = torch.randn(2, 3, 32, 32, requires_grad=True)
        sum(y.square().mean() for y in net(x)).backward()
        results.append(([x.grad, *(p.grad for p in net.parameters())], net.state_dict()))
    (grads, state), (again, state_again) = results
    for one, other in zip(grads, again, strict=True):
        assert torch.equal(one, other)
    for name, value in state.items():
        assert torch.equal(value, state_again[name]), name


def test_frozen_parts_and_norms_survive_train() -> None:
    net = RoadmapNet('patchify_stem', frozen_stages=1).train()
    assert not any(p.requires_grad for p in [*net.stem.parameters(), *net.stages[0].parameters()])
    assert not any(m.training for m in [*net.stem.modules(), *net.stages[0].modules()])
    assert all(m.training for m in net.stages[1].modules())
    net = RoadmapNet('patchify_stem', norm_eval=True)
    assert net.train() is net
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms != []
    assert not any(norm.training for norm in norms)
    assert net.stages[0].training


@pytest.mark.parametrize('frozen', [2, 4])
def test_frozen_output_norms(frozen: int) -> None:
    net = meta('layer_norm', frozen_stages=frozen)
    for stage in range(4):
        trainable = [p.requires_grad for p in getattr(net, f'norm{stage}').parameters()]
        assert trainable == [stage >= frozen] * 2


def test_last_norm_is_handed_over_from_the_last_step_on() -> None:
    for step in ('resnet50', 'layer_norm'):
        net = RoadmapNet(step, out_indices=(3,))
        handed_over = net.take_last_norm()
        assert type(handed_over) is nn.Identity
        assert net.take_last_norm() is handed_over
        assert not hasattr(net, 'norm3')
    net = RoadmapNet('separate_downsampling', out_indices=(3,))
    norm, image = net.norm3, torch.randn(1, 3, 32, 32)
    (normalised,) = net(image)
    assert net.take_last_norm() is norm is net.take_last_norm()
    (raw,) = net(image)
    torch.testing.assert_close(norm(raw), normalised)
    with pytest.raises(ValueError, match=r'out_indices: expected \(3,\) under a classifier'):
        meta('gelu').take_last_norm()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(step='kernel_13'), 'step: expected one of resnet50, stage_ratio, .* got .kernel_13'),
        (dict(regime='resnet101'), 'regime: expected resnet50 or resnet200, got .resnet101'),
        (dict(step='resnet200'), 'step: expected one of'),
        (dict(out_indices=(4,)), 'out_indices: expected'),
        (dict(drop_path_rate=1.0), 'drop_path_rate: expected'),
        (dict(frozen_stages=5), 'frozen_stages: expected'),
        (dict(layer_scale_init_value=-1.0), 'layer_scale_init_value: expected'),
        (dict(in_channels=0), 'in_channels: expected'),
        (dict(layer_scale_init_value=None), 'layer_scale_init_value: expected 0 or more, got None'),
    ],
)
def test_impossible_arguments_get_an_answer(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta(**{'step': 'resnet50', **options})


def test_the_first_step_goes_by_the_regimes_name() -> None:
    assert meta('resnet200', 'resnet200').depths == meta('resnet50', 'resnet200').depths
    assert meta('resnet200', 'resnet200').depths == (3, 24, 36, 3)


def test_too_small_an_input_gets_an_answer() -> None:
    with pytest.raises(ValueError, match=r'at least 32 × 32 pixels, got 64 × 31'):
        meta('resnet50')(torch.empty(1, 3, 64, 31, device='meta'))


@pytest.mark.parametrize('step', ['inverted_bottleneck', 'separate_downsampling'])
def test_own_weights_load_strictly(step: str, tmp_path) -> None:
    torch.manual_seed(1)
    trained = RoadmapNet(step, out_indices=(3,))
    norm = trained.take_last_norm()
    state = {f'backbone.{name}': value for name, value in trained.state_dict().items()}
    state |= {f'norm.{name}': value for name, value in norm.state_dict().items()}
    state |= {'head.weight': torch.zeros(4, trained.channels[-1]), 'head.bias': torch.zeros(4)}
    path = tmp_path / 'classifier.pth'
    torch.save({'state_dict': state}, path)
    net = RoadmapNet(step, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    net.init_weights()
    for name, value in trained.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    broken = dict(state)
    del broken['backbone.stages.2.0.convs.1.weight']
    torch.save({'state_dict': broken}, path)
    net = RoadmapNet(step, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(CheckpointError, match=r'1 missing: backbone\.stages\.2\.0\.convs\.1'):
        net.init_weights()
    other = RoadmapNet('kernel_5', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(CheckpointError, match=r"does not fit RoadmapNet\(step='kernel_5'"):
        other.init_weights()


def test_own_weights_bring_a_classifiers_norm(tmp_path) -> None:
    options = dict(type='mmconvnext.RoadmapNet', step='separate_downsampling', out_indices=(3,))
    trained = ImageClassifier(options, num_classes=7)
    with torch.no_grad():
        trained.norm.weight.fill_(3.0)
    path = tmp_path / 'classifier.pth'
    torch.save({'state_dict': trained.state_dict()}, path)
    options['init_cfg'] = dict(type='Pretrained', checkpoint=str(path))
    tuned = ImageClassifier(options, num_classes=4)
    tuned.init_weights()
    for name, value in trained.state_dict().items():
        if not name.startswith('head.'):
            assert torch.equal(tuned.state_dict()[name], value), name
    assert tuned.head.weight.shape == (4, 768)


def test_pretrained_says_what_it_takes() -> None:
    net = RoadmapNet('gelu', init_cfg=dict(type='Pretrained', checkpoint='x.pth', stem='mean'))
    with pytest.raises(ValueError, match='expected checkpoint, prefix, ema, sha256, got stem'):
        net.init_weights()


@pytest.mark.parametrize('regime', REGIMES)
@pytest.mark.parametrize('step', NAMES)
def test_layer_depths_never_fall_and_stay_below_the_heads(step: str, regime: str) -> None:
    net = meta(step, regime)
    depths = [net.get_layer_depth(name)[0] for name, _ in net.named_parameters()]
    order = {'stem': 0, 'stages': 1, 'downsampling': 1}
    inside = [
        (int(name.split('.')[1]), depth)
        for (name, _), depth in zip(net.named_parameters(), depths)
        if order.get(name.split('.')[0])
    ]
    for stage in range(3):
        assert max(d for s, d in inside if s == stage) <= min(
            d for s, d in inside if s == stage + 1
        )
    count = net.get_layer_depth('stem.0.weight')[1]
    assert min(depths) == 0
    assert max(depth for _, depth in inside) == count - 2
    assert net.get_layer_depth('decode_head.x', 'backbone.') == (count - 1, count)


def test_layer_depths_of_the_last_step_are_convnext_s() -> None:
    for regime, arch in (('resnet50', 'tiny'), ('resnet200', 'base')):
        with torch.device('meta'):
            convnext = ConvNeXt(arch)
        net = meta('separate_downsampling', regime)
        for name, _ in net.named_parameters():
            assert net.get_layer_depth(name) == convnext.get_layer_depth(to_convnext(name))


@pytest.mark.parametrize('step', ['resnet50', 'inverted_bottleneck', 'separate_downsampling'])
def test_layer_decay_takes_it(step: str) -> None:
    model = nn.Module()
    model.backbone, model.head = meta(step), nn.Linear(2, 2, device='meta')
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05)),
        dict(decay_rate=0.5),
    )
    optimizer = constructor(model).optimizer
    scales = {n: g['lr'] for g in optimizer.param_groups for n in g['param_names']}
    decays = {n: g['weight_decay'] for g in optimizer.param_groups for n in g['param_names']}
    last = model.backbone.get_layer_depth('x')[0]
    assert scales['head.weight'] == 1
    assert scales['backbone.stem.0.weight'] == 0.5**last
    for name, parameter in model.named_parameters():
        assert decays[name] == (0.05 if parameter.ndim > 1 else 0.0), name
