"""On the small models of the samples' configs."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.analysis.benchmark.batch import INSTANCES
from mmconvnext.studies.comparison.cost import generated_batch
from tests.conftest import CONFIGS


def build(name: str) -> torch.nn.Module:
    model = Config.fromfile(CONFIGS / f'{name}.py').model
    model.backbone.pop('init_cfg', None)
    if 'decode_head' in model:
        model.data_preprocessor.size = (64, 96)
    return MODELS.build(model).train()


def test_a_segmentor_s_batch_has_a_label_for_each_pixel() -> None:
    with DefaultScope.overwrite_default_scope('mmseg'):
        images, samples = generated_batch(
            build('upernet_convnext_atto_samples'), (64, 96), 3, 'cpu'
        )
    assert images.shape == (3, 3, 64, 96)
    assert images.dtype == torch.float32
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
    assert labels.shape == (3, 1, 64, 96)
    assert labels.unique().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_detector_s_batch_has_boxes_and_masks_within_them() -> None:
    with DefaultScope.overwrite_default_scope('mmdet'):
        images, samples = generated_batch(
            build('mask_rcnn_convnext_atto_samples'), (64, 96), 2, 'cpu'
        )
    assert images.shape == (2, 3, 64, 96)
    for sample in samples:
        truth = sample.gt_instances
        assert len(truth) == INSTANCES
        assert set(truth.labels.tolist()) <= {0, 1, 2, 3}
        for (left, top, right, bottom), mask in zip(truth.bboxes.tolist(), truth.masks.masks):
            rows, columns = mask.nonzero()
            assert rows.size
            assert left - 1 <= columns.min() <= columns.max() <= right + 1
            assert top - 1 <= rows.min() <= rows.max() <= bottom + 1
