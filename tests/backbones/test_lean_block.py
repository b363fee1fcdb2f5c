"""The lean block against the plain one, which spells the arithmetic out; here on a CPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmconvnext.backbones import block as block_module
from mmconvnext.backbones import forms
from mmconvnext.backbones.convnext import ConvNeXt
from tests.backbones.fused_block.test_fused_block import a_block, as_fast, assert_same, results


@pytest.fixture(autouse=True)
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the lean form run on a CPU, in all dtypes."""
    monkeypatch.setattr(block_module, 'form_for', lambda *_: 'lean')


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(1, 4),
    channels=st.sampled_from((3, 8, 16)),
    height=st.integers(1, 12),
    width=st.integers(1, 9),
    drop_path=st.sampled_from((0.0, 0.5, 0.9)),
    grn=st.booleans(),
    gamma=st.booleans(),
    seed=st.integers(0, 99),
)
def test_matches_the_plain_block(
    samples, channels, height, width, drop_path, grn, gamma, seed
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_module, 'form_for', lambda *_: 'lean')
        torch.manual_seed(seed)
        plain = a_block(channels, drop_path, grn, gamma, dtype=torch.float64)
        x = torch.randn(samples, channels, height, width, dtype=torch.float64)
        assert_same(results(as_fast(plain), x, seed), results(plain, x, seed), 1e-9)


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_matches_the_plain_block_in_float32(grn: bool, layout: torch.memory_format) -> None:
    plain = a_block(24, 0.3, grn)
    x = torch.randn(3, 24, 35, 21).contiguous(memory_format=layout)
    ours = as_fast(plain)
    assert_same(results(ours, x), results(plain, x), 2e-5)
    assert ours(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('gamma', [False, True])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('input_dtype', [None, torch.float32])
def test_matches_the_plain_block_under_autocast(grn, gamma, dtype, input_dtype) -> None:
    """As near to float64's numbers as the plain block is, and in its dtypes."""
    plain = a_block(24, 0.3, grn, gamma)
    x = torch.randn(2, 24, 14, 11).to(input_dtype or dtype)
    exact = results(plain.double(), x.double())
    plain = plain.float()
    with torch.autocast('cpu', dtype=dtype):
        ours, theirs = results(as_fast(plain), x), results(plain, x)
    for a, b, reference in zip(ours, theirs, exact, strict=True):
        assert a.dtype == b.dtype
        scale = reference.abs().max().clamp(min=1)
        ours_off, plain_off = ((v.double() - reference).abs().max() / scale for v in (a, b))
        assert ours_off <= 2 * plain_off + torch.finfo(dtype).eps


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_half_precision_block_stays_so(dtype: torch.dtype) -> None:
    for grn, gamma in ((False, True), (True, False)):
        plain = a_block(16, 0.3, grn, gamma, dtype=dtype)
        ours, theirs = (
            results(b, torch.randn(2, 16, 9, 9).to(dtype)) for b in (as_fast(plain), plain)
        )
        assert [a.dtype for a in ours] == [b.dtype for b in theirs]
        assert all(torch.isfinite(a).all() for a in ours)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_frozen_parameters_get_no_gradient(dtype: torch.dtype) -> None:
    block = as_fast(a_block(8, 0.3, grn=True))
    for name, parameter in block.named_parameters():
        parameter.requires_grad_('norm' in name or 'grn' in name)
    with torch.autocast('cpu', dtype=dtype, enabled=dtype != torch.float32):
        block(torch.randn(2, 8, 9, 9)).float().sum().backward()
    assert {n for n, p in block.named_parameters() if p.grad is not None} == {
        n for n, p in block.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize('gamma', [1e-6, 1e-3])
def test_float16_keeps_what_a_small_layer_scale_leaves(gamma: float) -> None:
    block = a_block(16)
    nn.init.constant_(block.gamma, gamma)
    nn.init.normal_(block.pwconv2.weight, std=0.02)
    x = 1e-3 * torch.randn(2, 16, 9, 9)  # so that float32 has digits left for the sum
    with torch.autocast('cpu', dtype=torch.float16), torch.no_grad():
        ours, theirs = as_fast(block)(x) - x, block(x) - x
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=gamma * 0.01)
    assert ours.abs().max() > 0


@pytest.mark.parametrize('grn', [False, True])
def test_in_the_backbone(grn: bool) -> None:
    options = dict(arch='atto', use_grn=grn, drop_path_rate=0.3, with_cp=True)
    ours = ConvNeXt(**options).train()
    plain = ConvNeXt(**options, fast=False).train()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 96)
    outs = []
    for model in (ours, plain):
        torch.manual_seed(3)
        outs.append(model(x))
        sum(out.square().mean() for out in outs[-1]).backward()
    for a, b in zip(*outs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_which_form_runs_where() -> None:
    rows = {(row.device, row.dtype, row.compiler): row.form for row in forms.FORMS}
    assert rows[None, None, 'none'] == 'lean'
    x = torch.empty(1, 3, 4, 4)
    assert forms.form_for(x) == 'fused'
    assert forms.form_for(x, compiled=True) == 'compiled'
    assert forms.form_for(x.to('meta'), compiled=True) == 'plain'
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert forms.branch_dtype(x) == torch.bfloat16
        assert forms.branch_dtype(x.double()) == torch.float64
