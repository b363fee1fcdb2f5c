"""The loss's form for a GPU, here on a CPU: what holds for the other form holds for it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmconvnext.segmentation import pixel_loss, whole_loss
from tests.segmentation import test_pixel_loss as of_the_other_form
from tests.segmentation.test_pixel_loss import assert_same, draw, sides


@pytest.fixture(autouse=True)
def form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_loss, 'loss_in_bands', whole_loss.whole_loss)


@given(st.integers(2, 9), sides, sides, st.integers(1, 90), st.integers(1, 90), st.booleans())
@settings(deadline=None, max_examples=60)
def test_matches_torch(
    classes: int, h: int, w: int, height: int, width: int, align_corners: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_loss, 'loss_in_bands', whole_loss.whole_loss)
        assert_same(*draw(classes, (h, w), (height, width)), align_corners)


@pytest.mark.parametrize('size', [1, 5 * 52 * 69 * 8, 1 << 30])
def test_some_pictures_at_a_time(monkeypatch, size: int) -> None:
    monkeypatch.setattr(whole_loss, '_BYTES', size)
    assert_same(*draw(5, (13, 17), (52, 69)))


test_large_logits = of_the_other_form.test_large_logits_and_nothing_that_counts
test_strided_logits_and_no_gradient = of_the_other_form.test_strided_logits_and_no_gradient
test_computes_in_float32_under_autocast = of_the_other_form.test_computes_in_float32_under_autocast
test_second_derivative_raises = of_the_other_form.test_second_derivative_raises


def test_keeps_nothing_of_the_size_of_the_labels() -> None:
    of_the_other_form.test_keeps_nothing_of_the_size_of_the_labels()


def test_is_the_one_that_ran(monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError('ran')

    monkeypatch.setattr(whole_loss, '_images', fail)
    with pytest.raises(RuntimeError, match='ran'):
        pixel_loss.resized_cross_entropy(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long())
