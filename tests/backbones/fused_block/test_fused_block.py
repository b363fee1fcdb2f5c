"""The fused block against the plain one, which spells the arithmetic out."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode

from mmconvnext.backbones.block import ConvNeXtBlock
from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.backbones.fused_block import parts


def a_block(
    channels: int = 8, drop_path: float = 0.0, grn: bool = False, gamma: bool = True, **kwargs
) -> ConvNeXtBlock:
    """With random parameters of the size that matters, gamma and GRN's too."""
    scale = 1.0 if gamma else 0.0
    block = ConvNeXtBlock(channels, drop_path, scale, grn, 1e-6, with_cp=False, fast=False)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block.to(**kwargs)


def as_fast(block: ConvNeXtBlock) -> ConvNeXtBlock:
    block = copy.deepcopy(block)
    block.fast = True
    return block


def results(block: nn.Module, x: Tensor, seed: int = 0) -> list[Tensor]:
    """Output in training and in evaluation, and the gradient of all there is."""
    block, x = copy.deepcopy(block), x.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    out = block.train()(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=out.dtype)
    out.backward(weights)
    with torch.inference_mode():
        evaluated = block.eval()(x.detach())
    return [out.detach(), evaluated, x.grad, *(p.grad for p in block.parameters())]


def assert_same(ours: list[Tensor], plain: list[Tensor], tolerance: float) -> None:
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        scale = max(b.abs().max().item(), 1.0)
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 4),
    channels=st.sampled_from((3, 8, 16)),
    height=st.integers(1, 40),
    width=st.integers(1, 20),
    drop_path=st.sampled_from((0.0, 0.5, 0.9)),
    grn=st.booleans(),
    gamma=st.booleans(),
    budget=st.sampled_from((1 << 12, 1 << 15, 3 << 20)),
    seed=st.integers(0, 99),
)
def test_matches_the_plain_block(
    samples, channels, height, width, drop_path, grn, gamma, budget, seed
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, 'CPU_BYTES', budget)
        torch.manual_seed(seed)
        plain = a_block(channels, drop_path, grn, gamma, dtype=torch.float64)
        x = torch.randn(samples, channels, height, width, dtype=torch.float64)
        assert_same(results(as_fast(plain), x, seed), results(plain, x, seed), 1e-9)


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_matches_the_plain_block_in_float32(grn: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain = a_block(24, 0.3, grn)
    x = torch.randn(3, 24, 35, 21).contiguous(memory_format=layout)
    ours = as_fast(plain)
    assert_same(results(ours, x), results(plain, x), 2e-5)
    assert ours(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('gamma', [False, True])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_matches_the_plain_block_under_autocast(grn: bool, gamma: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = a_block(16, 0.0, grn, gamma)
    x = torch.randn(2, 16, 12, 9)
    exact = results(plain, x)
    with torch.autocast('cpu', dtype):
        ours, coarse = results(as_fast(plain), x), results(plain, x)
    assert [a.dtype for a in ours] == [a.dtype for a in coarse]
    # Rounded in other places, but no further from the truth.
    for a, b, truth in zip(ours, coarse, exact):
        error, allowed = (a - truth).abs().mean(), (b - truth).abs().mean()
        assert error <= 2 * allowed + 1e-6 * truth.abs().mean()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_half_precision_block_stays_so(dtype: torch.dtype) -> None:
    for block in (a_block(dtype=dtype), a_block(grn=True, gamma=False, dtype=dtype)):
        ours = results(as_fast(block), torch.randn(2, 8, 9, 9, dtype=dtype))
        assert {a.dtype for a in ours} == {dtype}


@pytest.mark.parametrize('grn', [False, True])
def test_samples_nobody_keeps_leave_a_gradient(grn: bool) -> None:
    block = as_fast(a_block(drop_path=0.999999, grn=grn))
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    out = block.train()(x)
    out.sum().backward()
    assert torch.equal(out, x)
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in block.parameters())


def test_frozen_parameters_get_no_gradient() -> None:
    block = as_fast(a_block(grn=True))
    x = torch.randn(2, 8, 6, 6)
    expected = dict(zip(dict(block.named_parameters()), results(block, x)[3:]))
    for name in ('pwconv1.weight', 'gamma', 'grn.beta', 'dwconv.weight'):
        block.get_parameter(name).requires_grad_(False)
    torch.manual_seed(0)
    out = block.train()(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    out.backward(weights)
    for name, parameter in block.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter.grad, expected[name]), name
        else:
            assert parameter.grad is None


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('gamma', [1e-6, 1e-3, 0.0])
def test_float16_keeps_what_a_small_layer_scale_leaves(grn: bool, gamma: float) -> None:
    torch.manual_seed(0)
    plain = ConvNeXtBlock(16, 0.0, gamma, grn, 1e-6, with_cp=False, fast=False)
    for name, parameter in plain.named_parameters():
        if name != 'gamma':
            nn.init.trunc_normal_(parameter, std=0.02)
    with torch.no_grad():
        plain.pwconv1.bias[::3] -= 6  # channels that are nearly dead after GELU
    x = torch.randn(2, 16, 8, 8)
    losses = {}
    for name, block in (('exact', plain), ('plain', plain), ('ours', as_fast(plain))):
        block, image = copy.deepcopy(block), x.clone().requires_grad_()
        with torch.autocast('cpu', torch.float16, enabled=name != 'exact'):
            out = block(image)
        (out * 2.0**12).sum().backward()  # as a GradScaler does
        losses[name] = [out.detach(), *(p.grad for p in block.parameters())]
    for ours, theirs, exact in zip(losses['ours'], losses['plain'], losses['exact']):
        assert ours.isfinite().all()
        error, allowed = (ours - exact).norm(), (theirs - exact).norm()
        # The output is mostly the residual, in float32.
        relative = 1e-7 if exact is losses['exact'][0] else 1e-3
        assert error <= 2 * allowed + relative * exact.norm()


class _Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_replaced_and_hooked_layers_are_called() -> None:
    block = as_fast(a_block())
    x = torch.randn(1, 8, 6, 6)
    before = block(x)
    doubled = copy.deepcopy(block)
    doubled.pwconv1 = _Doubled(8, 32)
    doubled.pwconv1.load_state_dict(block.pwconv1.state_dict())
    assert not torch.allclose(doubled(x), before)
    approximate = copy.deepcopy(block)
    approximate.act = nn.GELU(approximate='tanh')
    assert not torch.equal(approximate(x), before)
    for attribute, value in (('dilation', (2, 2)), ('padding_mode', 'reflect')):
        other = copy.deepcopy(block)
        setattr(other.dwconv, attribute, value)
        other.dwconv.padding = (6, 6) if attribute == 'dilation' else (3, 3)
        other.dwconv._reversed_padding_repeated_twice = [3, 3, 3, 3]
        assert other._in_form(x) == other._plain
    patched = copy.deepcopy(block)
    patched.pwconv1.forward = lambda y: torch.zeros(*y.shape[:3], 32)
    assert not torch.allclose(patched(x), before)
    seen = []
    with register_module_forward_hook(lambda module, args, out: seen.append(module)):
        block(x)
    assert block.pwconv2 in seen
    seen.clear()
    block.act.register_forward_hook(lambda module, args, out: seen.append(out))
    block.norm.register_full_backward_hook(lambda module, *grads: seen.append(grads))
    out = block(x)
    torch.testing.assert_close(out, before)
    out.sum().backward()
    assert len(seen) == 2


@pytest.mark.parametrize('grn', [False, True])
@pytest.mark.parametrize('low', [None, torch.bfloat16])
def test_what_is_kept_for_the_backward_pass(grn: bool, low: torch.dtype | None) -> None:
    block = as_fast(a_block(32, grn=grn))
    x = torch.randn(2, 32, 16, 16, requires_grad=True)
    parameters = {p.data_ptr() for p in block.parameters()}
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast('cpu', low or torch.bfloat16, enabled=low is not None),
    ):
        block(x)
    # The input, the depthwise convolution's output, four times as many hidden values; in 16 bits
    # what layer scale multiplies too.
    values = (7 if low else 6) * x.numel() + (
        2 * 4 * 32 * 2 if grn and low else 2 * 4 * 32 if grn else 0
    )
    assert sum(kept.values()) == values * (2 if low else 4)


def test_the_backbone_has_one_switch() -> None:
    torch.manual_seed(0)
    fast = ConvNeXt(dict(depths=(1, 1, 2, 1), channels=(8, 8, 16, 16)), drop_path_rate=0.5)
    plain = ConvNeXt(
        dict(depths=(1, 1, 2, 1), channels=(8, 8, 16, 16)), drop_path_rate=0.5, fast=False
    )
    for parameter in fast.parameters():
        nn.init.normal_(parameter, std=0.3)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(3, 3, 70, 45)
    gradients = []
    for model in (fast.double().train(), plain.double().train()):
        assert all(block.fast is model.fast for stage in model.stages for block in stage)
        torch.manual_seed(7)
        outs = model(x.double())
        assert all(out.is_contiguous() for out in outs)
        sum(out.square().sum() for out in outs).backward()
        gradients.append([*outs, *(p.grad for p in model.parameters())])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item())


def test_a_seed_draws_what_it_drew_before() -> None:
    drop = a_block(drop_path=0.5).drop_path
    torch.manual_seed(0)
    expected = torch.empty(9, 1, 1, 1).bernoulli_(0.5)
    torch.manual_seed(0)
    assert torch.equal(drop.draw(9), expected.flatten())


@pytest.mark.parametrize('grn', [False, True])
def test_compiles_without_graph_breaks(grn: bool) -> None:
    torch.manual_seed(0)
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    backbone = ConvNeXt(arch, out_indices=(0, 1), drop_path_rate=0.5, use_grn=grn)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    compiled = torch.compile(backbone, backend='eager', fullgraph=True, dynamic=True)
    for size in ((64, 64), (70, 96)):
        image = torch.randn(2, 3, *size)
        torch.manual_seed(1)
        expected = backbone(image)
        torch.manual_seed(1)
        for a, b in zip(compiled(image), expected):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('gamma', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_result_has_the_plain_block_s_dtype(gamma: bool, dtype: torch.dtype) -> None:
    plain = a_block(gamma=gamma)
    x = torch.randn(1, 8, 6, 6, dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16):
        expected, ours = plain(x), as_fast(plain)(x)
    assert ours.dtype == expected.dtype
    torch.testing.assert_close(ours, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize('grn', [False, True])
def test_inference_multiplies_no_weights(grn: bool) -> None:
    # For a small image that is a longer pass over memory than any over its maps.
    block = as_fast(a_block(16, grn=grn, gamma=not grn)).eval()
    x = torch.randn(1, 16, 5, 3)
    with Shapes() as made, torch.inference_mode():
        block(x)
    assert block.pwconv2.weight.shape not in made
    assert block.pwconv1.weight.shape not in made


class Shapes(TorchDispatchMode, set):
    """Of all tensors that an operation has made."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not func.is_view:
            self.add(out.shape)
        return out
