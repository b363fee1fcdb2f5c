"""Blocks that are compiled by themselves."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from mmconvnext.backbones import compiled_block
from mmconvnext.backbones.convnext import ConvNeXt

# dynamo's own
pytestmark = [
    pytest.mark.filterwarnings('ignore:.*should not be instantiated:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf'),
]


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """Compiles without a compiler's work, and counts graphs."""
    torch._dynamo.reset()
    compiled_block._compiled.cache_clear()
    counter = CompileCounterWithBackend('aot_eager')
    monkeypatch.setattr(compiled_block, 'BACKEND', counter)
    yield counter
    compiled_block._compiled.cache_clear()
    torch._dynamo.reset()


def losses(model: ConvNeXt, x: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(1)
    outs = model(x)
    sum(out.float().square().mean() for out in outs).backward()
    return [out.detach().float() for out in outs]


def pair(**options: object) -> tuple[ConvNeXt, ConvNeXt]:
    arch = dict(depths=(2, 2, 3, 2), channels=(8, 16, 24, 32))
    ours = ConvNeXt(arch, compile_blocks=True, **options)
    plain = ConvNeXt(arch, fast=False, **options)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_matches_the_plain_block_and_compiles_once_a_stage(counter, grn, dtype) -> None:
    ours, plain = pair(use_grn=grn, drop_path_rate=0.4, layer_scale_init_value=0.0 if grn else 0.5)
    x = torch.randn(2, 3, 64, 96)
    tolerance = dict(rtol=1e-4, atol=1e-4) if dtype == torch.float32 else dict(rtol=0.1, atol=0.1)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        for mine, theirs in zip(losses(ours.train(), x), losses(plain.train(), x)):
            torch.testing.assert_close(mine, theirs, **tolerance)
    if dtype == torch.float32:
        for mine, theirs in zip(ours.parameters(), plain.parameters()):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    # The first block of all drops nothing, and under autocast that of a stage has another input.
    variants = counter.frame_count
    assert variants <= (4 + 1 if dtype == torch.float32 else 2 * 4 + 1)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        losses(ours, x)
    assert counter.frame_count == variants, 'other draws and other weights are compiled already'


def test_other_sizes_are_compiled_once_more(counter) -> None:
    ours, plain = pair()
    for size in ((64, 64), (96, 64), (64, 128), (160, 96)):
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            for mine, theirs in zip(ours.eval()(x), plain.eval()(x)):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert counter.frame_count <= 2 * 4, 'sizes become dynamic'


def test_with_cp_and_inside_of_a_compiled_model(counter) -> None:
    ours, plain = pair(with_cp=True)
    x = torch.randn(1, 3, 64, 64)
    for mine, theirs in zip(losses(ours, x), losses(plain, x)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    before = counter.frame_count
    whole = torch.compile(ours.eval(), backend='eager')
    with torch.no_grad():
        whole(x)
    assert counter.frame_count == before


@pytest.mark.campaign
@pytest.mark.parametrize('grn', [False, True])
def test_matches_with_inductor(grn: bool) -> None:
    torch._dynamo.reset()
    compiled_block._compiled.cache_clear()
    ours, plain = pair(use_grn=grn, drop_path_rate=0.4, layer_scale_init_value=0.0 if grn else 0.5)
    for size in ((64, 96), (96, 64)):
        x = torch.randn(2, 3, *size)
        for mine, theirs in zip(losses(ours.train(), x), losses(plain.train(), x)):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
