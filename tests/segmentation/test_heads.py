"""Against mmseg's UPerHead: the same state dict, logits and gradients."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.models.decode_heads import UPerHead as PlainUPerHead
from torch import Tensor, nn

from mmconvnext.segmentation.heads import UPerHead

CHANNELS = (4, 6, 8, 10)


def a_pair(**kwargs) -> tuple[UPerHead, PlainUPerHead]:
    options = dict(
        in_channels=CHANNELS,
        in_index=(0, 1, 2, 3),
        pool_scales=(1, 2, 3, 6),
        channels=8,
        dropout_ratio=0.0,
        num_classes=5,
        norm_cfg=dict(type='BN'),
        align_corners=False,
    )
    plain = PlainUPerHead(**{**options, **kwargs})
    for name, parameter in plain.named_parameters():
        nn.init.normal_(parameter, mean=float('bn.weight' in name), std=0.3)
    ours = UPerHead(**{**options, **kwargs})
    ours.load_state_dict(plain.state_dict())
    return ours, plain


def some_maps(height: int, width: int, samples: int = 2, dtype=torch.float64) -> list[Tensor]:
    """As a backbone's, each stage rounding down."""
    sizes = [(max(height >> level, 1), max(width >> level, 1)) for level in range(4)]
    return [torch.randn(samples, c, *size, dtype=dtype) for c, size in zip(CHANNELS, sizes)]


def results(head: nn.Module, maps: list[Tensor]) -> list[Tensor]:
    head = copy.deepcopy(head)
    with torch.inference_mode():
        evaluated = head.eval()(maps)
    maps = [x.detach().clone().requires_grad_() for x in maps]
    out = head.train()(maps)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    out.backward(weights)
    buffers = [b for b in head.buffers() if b.is_floating_point()]
    return [
        evaluated, out.detach(), *(x.grad for x in maps),
        *(p.grad for p in head.parameters()), *buffers,
    ]  # fmt: skip


def assert_same(ours: list[Tensor], plain: list[Tensor], tolerance: float) -> None:
    for a, b in zip(ours, plain, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        atol = tolerance * max(b.abs().max().item(), 1.0)
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    align_corners=st.booleans(),
    seed=st.integers(0, 99),
)
@pytest.mark.filterwarnings('ignore:When align_corners=True')  # mmseg's advice on sizes
def test_matches_mmseg(height: int, width: int, align_corners: bool, seed: int) -> None:
    torch.manual_seed(seed)
    ours, plain = a_pair(align_corners=align_corners)
    maps = some_maps(height, width)
    assert_same(results(ours.double(), maps), results(plain.double(), maps), 1e-8)


@pytest.mark.parametrize(
    'options',
    [
        dict(norm_cfg=None),
        dict(act_cfg=None),
        dict(norm_cfg=dict(type='GN', num_groups=2)),
        dict(pool_scales=(1,)),
        dict(conv_cfg=dict(type='ConvWS')),  # not a plain convolution: mmseg's own path
    ],
)
def test_matches_mmseg_with_other_options(options: dict) -> None:
    torch.manual_seed(0)
    ours, plain = a_pair(**options)
    maps = some_maps(24, 17)
    assert_same(results(ours.double(), maps), results(plain.double(), maps), 1e-9)


def test_matches_mmseg_on_maps_of_any_ratio() -> None:
    torch.manual_seed(0)
    ours, plain = a_pair()
    sizes = ((30, 21), (29, 20), (7, 9), (31, 3))
    maps = [torch.randn(2, c, *size).double() for c, size in zip(CHANNELS, sizes)]
    assert_same(results(ours.double(), maps), results(plain.double(), maps), 1e-9)


def test_matches_mmseg_in_float32() -> None:
    torch.manual_seed(0)
    ours, plain = a_pair()
    ours, plain = ours.eval(), plain.eval()
    maps = some_maps(64, 64, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(maps), plain(maps), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_matches_mmseg_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours, plain = a_pair()
    maps = some_maps(32, 32, samples=4, dtype=torch.float32)
    exact = results(plain, maps)
    with torch.autocast('cpu', dtype):
        mine, coarse = results(ours, maps), results(plain, maps)
    assert [a.dtype for a in mine] == [b.dtype for b in coarse]
    for a, b, truth in zip(mine[:6], coarse, exact):
        error, allowed = (a - truth).abs().mean(), (b - truth).abs().mean()
        assert error <= 1.5 * allowed


def test_the_switch_is_mmseg() -> None:
    torch.manual_seed(0)
    ours, plain = a_pair()
    ours.fast = False
    maps = some_maps(16, 16)
    for a, b in zip(results(ours.double(), maps), results(plain.double(), maps)):
        assert torch.equal(a, b)


@pytest.mark.parametrize('name', ['fpn_bottleneck', 'bottleneck', 'fpn_bottleneck.conv'])
def test_hooks_are_called(name: str) -> None:
    ours, _ = a_pair()
    seen = []
    ours.get_submodule(name).register_forward_hook(lambda *args: seen.append(args))
    ours(some_maps(16, 16, dtype=torch.float32))
    assert len(seen) == 1


@pytest.mark.parametrize('dynamic', [False, True])
def test_compiles_without_graph_breaks(dynamic: bool) -> None:
    torch.manual_seed(0)
    ours, plain = a_pair()
    compiled = torch.compile(ours.eval(), backend='eager', fullgraph=True, dynamic=dynamic)
    with torch.no_grad():
        for size in ((32, 32), (40, 56)):
            maps = some_maps(*size, dtype=torch.float32)
            torch.testing.assert_close(compiled(maps), plain.eval()(maps), rtol=1e-4, atol=1e-5)


def test_exports() -> None:
    torch.manual_seed(0)
    ours, _ = a_pair()
    maps = some_maps(32, 40, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch's own, of its tracer
        program = torch.export.export(ours.eval(), (maps,))
    torch.testing.assert_close(program.module()(maps), ours(maps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('fast', [True, False])
def test_an_exported_head_takes_any_size(fast: bool) -> None:
    torch.manual_seed(0)
    head = a_pair()[0 if fast else 1].eval()
    maps = some_maps(64, 64, dtype=torch.float32)
    sizes = [{2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}] * len(maps)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch's own, of its tracer
        program = torch.export.export(head, (maps,), dynamic_shapes=(sizes,))
    for size in ((32, 32), (64, 96), (128, 128)):
        maps = some_maps(*size, dtype=torch.float32)
        torch.testing.assert_close(program.module()(maps), head(maps), rtol=1e-4, atol=1e-5)
