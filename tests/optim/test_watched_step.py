"""Optimizer wrappers that ask before they step."""

import pytest
import torch
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmconvnext.optim import AmpOptimWrapper, OptimWrapper


class Reads(TorchDispatchMode):
    """Counts what copies a number from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.fixture
def on_cpu(monkeypatch) -> None:
    """Lets the wrapper for mixed precision be built without an accelerator, with a real scaler."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'GradScaler', lambda **o: torch.amp.GradScaler('cpu', **o)
    )


def wrapped(kind: type, clip_grad: dict | None = None, **options: object):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, kind(optimizer=optimizer, clip_grad=clip_grad and dict(clip_grad), **options)


def train(model: nn.Module, wrapper, steps: int = 3, factor: float = 1) -> list[torch.Tensor]:
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        wrapper.update_params(factor * (model(inputs) ** 2).mean())
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize('clip', [None, dict(max_norm=0.1), dict(type='value', clip_value=0.01)])
@pytest.mark.parametrize('counts', [1, 2])
def test_watched_steps_match_mmengine_s(clip, counts) -> None:
    model, wrapper = wrapped(MMEngineOptimWrapper, clip, accumulative_counts=counts)
    expected = train(model, wrapper, 4)
    model, wrapper = wrapped(OptimWrapper, clip, accumulative_counts=counts)
    seen = []
    wrapper.watch = lambda loss, norm, scaled: (seen.append((loss, norm, scaled)), (1.0, True))[1]
    for ours, theirs in zip(train(model, wrapper, 4), expected):
        assert torch.equal(ours, theirs)
    assert len(seen) == 4 // counts
    assert all(torch.isfinite(norm) and not scaled for _, norm, scaled in seen)


@pytest.mark.usefixtures('on_cpu')
@pytest.mark.parametrize('clip', [None, dict(max_norm=0.1)])
def test_scaled_steps_match_mmengine_s(clip) -> None:
    model, wrapper = wrapped(MMEngineAmpOptimWrapper, clip, loss_scale=dict(growth_interval=2))
    expected, scale = train(model, wrapper, 5), wrapper.loss_scaler.get_scale()
    model, wrapper = wrapped(AmpOptimWrapper, clip, loss_scale=dict(growth_interval=2))
    wrapper.watch = lambda loss, norm, scaled: (norm.item(), True)
    for ours, theirs in zip(train(model, wrapper, 5), expected):
        assert torch.equal(ours, theirs)
    assert wrapper.loss_scaler.get_scale() == scale


@pytest.mark.usefixtures('on_cpu')
def test_the_scaler_goes_down_where_a_step_is_called_off() -> None:
    model, wrapper = wrapped(AmpOptimWrapper, loss_scale=dict(init_scale=1e38))
    wrapper.watch = lambda loss, norm, scaled: (norm.item(), bool(torch.isfinite(norm)))
    before = [p.detach().clone() for p in model.parameters()]
    after = train(model, wrapper, 1, factor=1000)
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    assert wrapper.loss_scaler.get_scale() == pytest.approx(5e37)


@pytest.mark.usefixtures('on_cpu')
@pytest.mark.parametrize('kind', [OptimWrapper, AmpOptimWrapper])
@pytest.mark.parametrize('clip', [None, dict(max_norm=0.1)])
def test_nothing_is_read_from_the_device_but_by_the_watch(kind: type, clip) -> None:
    model, wrapper = wrapped(kind, clip)
    wrapper.watch = lambda loss, norm, scaled: (0.0, True)
    train(model, wrapper, 1)  # the optimizer makes its state
    with Reads() as reads:
        train(model, wrapper, 1)
    ours = reads.count
    wrapper.watch = None
    with Reads() as reads:
        train(model, wrapper, 1)
    # AdamW reads its step counters, which are on the CPU.
    assert ours == reads.count - (kind is AmpOptimWrapper) - bool(clip)


def test_called_off_steps_change_nothing_and_forget_the_gradients() -> None:
    model, wrapper = wrapped(OptimWrapper)
    wrapper.watch = lambda loss, norm, scaled: (0.0, False)
    before = [p.detach().clone() for p in model.parameters()]
    after = train(model, wrapper, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    assert all(p.grad is None for p in model.parameters())
