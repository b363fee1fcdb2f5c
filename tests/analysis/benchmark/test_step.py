import pytest
import torch
from torch import nn

from mmconvnext.analysis.benchmark.step import LOSS_SCALE, ModelStep


def model_step(training: bool, dropout: float = 0.0) -> ModelStep:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout)).train(training)
    x = torch.randn(5, 3, requires_grad=training)
    return ModelStep(model, lambda: {'y': model(x)}, leaves={'x': x})


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision_is_of_the_forward_pass(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(3, 4), torch.randn(5, 3)
    step = ModelStep(model, lambda: {'y': model(x)}, amp=dtype)
    results = step(0)
    assert results['y'].dtype == dtype
    assert results['gradient of weight'].dtype == torch.float32
    model.eval()
    assert step(0)['y'].dtype == dtype
    loss = ModelStep(model.train(), lambda: {'loss': model(x).float().mean()}, amp=dtype)
    exact = ModelStep(model, lambda: {'loss': model(x).mean()})
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    found, expected = loss(0)['gradient of bias'], exact(0)['gradient of bias']
    torch.testing.assert_close(found, scale * expected, rtol=1e-2, atol=0)


def test_training_step_gives_all_gradients_and_leaves_none() -> None:
    step = model_step(training=True)
    results = step(0)
    assert results.keys() == {'y', *(f'gradient of {name}' for name in ('0.weight', '0.bias', 'x'))}
    y = step.forward()['y']
    (expected,) = torch.autograd.grad((y * step.weights[0]).sum(), step.model[0].weight)
    assert torch.equal(results['gradient of 0.weight'], expected)
    assert all(leaf.grad is None for leaf in step.leaves.values())
    assert torch.equal(step(1)['gradient of x'], results['gradient of x']), 'nothing accumulates'


def test_seed_decides_what_is_dropped() -> None:
    step = model_step(training=True, dropout=0.5)
    assert torch.equal(step(3)['y'], step(3)['y'])
    assert not torch.equal(step(3)['y'], step(4)['y'])


def test_inference_keeps_no_graph() -> None:
    assert model_step(training=False)(0)['y'].is_inference()
