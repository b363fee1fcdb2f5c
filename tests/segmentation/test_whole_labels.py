"""The label decision for a GPU, here on a CPU: what holds for the other form holds for it."""

import pytest
import torch

from mmconvnext.segmentation import segmentor, whole_labels
from mmconvnext.segmentation.whole_labels import WholeView
from tests.segmentation import test_segmentor as of_the_other_form
from tests.segmentation import test_tta as averaged
from tests.segmentation.test_segmentor import SLIDE, WHOLE, assert_same, build, pictures


@pytest.fixture(autouse=True)
def form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentor, 'view_of', WholeView)


test_predictions_match_mmseg = of_the_other_form.test_predictions_match_mmseg
test_flips_and_padding_match_mmseg = of_the_other_form.test_flips_and_padding_match_mmseg
test_pictures_of_a_batch = of_the_other_form.test_pictures_of_a_batch_have_their_own_ways_back
test_labels_have_no_gradient = (
    of_the_other_form.test_labels_have_no_gradient_and_float32_under_autocast
)
test_names_a_flip_that_is_none = of_the_other_form.test_names_a_flip_that_is_none
test_adds_probabilities_as_mmseg_does = averaged.test_adds_probabilities_in_tiles_as_mmseg_adds_maps


@pytest.mark.parametrize('classes_at_once', [1, 2, 3])
def test_some_classes_at_a_time(monkeypatch, classes_at_once: int) -> None:
    monkeypatch.setattr(
        whole_labels, '_free_bytes', lambda view: classes_at_once * view.bytes_of_a_class()
    )
    for test_cfg in (WHOLE, SLIDE):
        assert_same(build(test_cfg), *pictures((70, 64), 2, (60, 50)))
    averaged.test_adds_probabilities_in_tiles_as_mmseg_adds_maps(monkeypatch, 7)


def test_of_equal_classes_the_first(monkeypatch) -> None:
    like = torch.zeros(4, 4, 3)
    for room in (1, 3):
        monkeypatch.setattr(
            whole_labels, '_free_bytes', lambda view, room=room: room * view.bytes_of_a_class()
        )
        window = whole_labels.Windows((0,), 16, 16)
        view = WholeView(dict(ori_shape=(16, 16)), window, window, like, False)
        view.add(0, [like])
        assert not whole_labels.whole_labels([view], None).any()
