import pytest
import torch
from torch.nn import functional as F

from mmconvnext.backbones.fused_block import linear as module
from mmconvnext.backbones.fused_block.linear import linear


@pytest.mark.parametrize('gelu', [False, True])
@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('onednn', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_matches_torch(gelu, with_bias, onednn, dtype, monkeypatch) -> None:
    if onednn and not module._HAS_ONEDNN:
        pytest.skip('this torch has no oneDNN')
    monkeypatch.setattr(module, '_HAS_ONEDNN', onednn)
    torch.manual_seed(0)
    for pixels in (0, 1, 37):
        x, weight = torch.randn(pixels, 12, dtype=dtype), torch.randn(48, 12, dtype=dtype)
        bias = torch.randn(48, dtype=dtype) if with_bias else None
        expected = F.linear(x, weight, bias)
        expected = F.gelu(expected) if gelu else expected
        torch.testing.assert_close(linear(x, weight, bias, gelu), expected)


def test_gelu_is_exact_where_it_is_steep_and_where_it_is_flat() -> None:
    x = torch.linspace(-12, 12, 100_001)[:, None]
    exact = F.gelu(x.double())
    ours, plain = (
        (out - exact).abs() for out in (linear(x, torch.ones(1, 1), gelu=True), F.gelu(x))
    )
    # torch's own is off by 1e-6 where it is flat; that of oneDNN in torch 2.13 is not.
    assert (ours <= torch.maximum(plain.max(), 2e-5 * exact.abs() + 5e-7)).all()


def test_takes_views() -> None:
    x, weight = torch.randn(10, 6)[::2], torch.randn(6, 4).t()
    torch.testing.assert_close(linear(x, weight), x @ weight.t())
