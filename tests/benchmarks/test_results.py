import pytest
import torch

from benchmarks.results import differences


def test_squares_of_half_precision_results_do_not_overflow() -> None:
    large = {'gradient of w': torch.full((100,), 3e4, dtype=torch.float16)}
    assert differences(large, large) == (0, 0)


def test_differences() -> None:
    a = {'y': torch.tensor([1.0, 4.0]), 'gradient of w': torch.tensor([100.0, 0.0])}
    b = {'y': torch.tensor([[[1.0]], [[4.4]]]), 'gradient of w': torch.tensor([100.0, 1.0])}
    assert differences(a, b) == pytest.approx((0.1, 0.01))
    noise = torch.tensor([1e-7])
    _, gradients = differences({**a, 'gradient of b': noise}, {**a, 'gradient of b': -noise})
    assert gradients < 1e-5
    labels = {'labels': torch.tensor([1, 2, 3, 4])}
    assert differences(labels, {'labels': torch.tensor([1, 2, 3, 149])}) == (0.25, 0)
