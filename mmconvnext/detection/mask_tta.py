"""Multi-scale and flip testing with boxes and masks.

mmdet's own test-time augmentation does not support masks (open-mmlab/mmdetection #10705).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi, bbox_flip
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import MODELS
from mmconvnext.roi_heads import stages

# Dimensions of a (…, height, width) mask that each direction of flipping reverses.
_FLIPPED = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


class _View(NamedTuple):
    """A batch of images in one augmentation."""

    features: tuple[Tensor, ...]  # from the neck, (N, C, height, width) each
    samples: SampleList


@MODELS.register_module()
class MaskTTAModel(BaseTTAModel):
    """Test-time augmentation of mmdet's two-stage detectors, with or without masks.

    The box head's boxes from all views are mapped back to the image and suppressed together, with
    the detector's ``test_cfg.rcnn``. The mask head then predicts the remaining boxes in every view,
    and the mask is the mean of its probabilities. In a cascade the mean is also over its stages, as
    without augmentation.

    The feature maps of all views are kept until the masks are done: about 90 MB for a view of
    1333 × 800 with 256 channels in float32.

    Source of the merging: facebookresearch/detectron2 @02b5c4e,
    modeling/test_time_augmentation.py.

    Raises:
        ArgumentError: the detector has no RoI head.
    """

    def __init__(self, module: dict | nn.Module, **kwargs: object) -> None:
        super().__init__(module=module, **kwargs)
        if not hasattr(self.module, 'roi_head'):
            raise ArgumentError(
                'MaskTTAModel: expected a two-stage detector, such as MaskRCNN or CascadeRCNN, got '
                f"{type(self.module).__name__}; use mmdet's DetTTAModel for it"
            )

    @torch.no_grad()
    def test_step(self, data: Mapping[str, Sequence]) -> SampleList:
        """Return merged predictions for a batch, in pixels of the original images.

        ``data`` has ``inputs`` and ``data_samples``, each a list of views with one entry per image.
        """
        views = []
        for entries in zip(*data.values(), strict=True):
            view = self.module.data_preprocessor(dict(zip(data, entries)), False)
            views.append(_View(self.module.extract_feat(view['inputs']), view['data_samples']))
        candidates = [self._candidates(view) for view in views]
        for number, sample in enumerate(views[0].samples):
            sample.pred_instances = self._suppress([of_view[number] for of_view in candidates])
            if self.module.with_mask:
                self._add_masks(sample.pred_instances, views, number)
        return views[0].samples

    def merge_preds(self, data_samples_list: list[SampleList]) -> SampleList:
        """Raise TypeError: the final predictions of the views cannot be merged."""
        raise TypeError('MaskTTAModel merges before suppression; call test_step')

    def _candidates(self, view: _View) -> list[InstanceData]:
        """Return boxes (K, 4 · classes) and scores (K, classes + 1) of each image's RoIs."""
        metas = [sample.metainfo for sample in view.samples]
        proposals = self.module.rpn_head.predict(view.features, view.samples, rescale=False)
        candidates = self.module.roi_head.predict_bbox(
            view.features, metas, proposals, rcnn_test_cfg=None, rescale=True
        )
        for found, meta in zip(candidates, metas):
            found.bboxes = _flip(found.bboxes, meta)
        return candidates

    def _suppress(self, candidates: list[InstanceData]) -> InstanceData:
        options = self.module.roi_head.test_cfg
        # The boxes of a view without proposals have another shape.
        candidates = [found for found in candidates if len(found)] or candidates[:1]
        boxes, labels = multiclass_nms(
            torch.cat([found.bboxes for found in candidates]),
            torch.cat([found.scores for found in candidates]),
            options.score_thr,
            options.nms,
            options.max_per_img,
        )
        return InstanceData(bboxes=boxes[:, :4], scores=boxes[:, 4], labels=labels)

    def _add_masks(self, found: InstanceData, views: list[_View], number: int) -> None:
        last_head: Any = stages(self.module.roi_head, 'mask')[-1][1]
        seen = views if len(found) else []
        probabilities = [self._mask_probabilities(found, view, number) for view in seen]
        # Pasted as in mmdet, into the original image size.
        meta = dict(views[0].samples[number].metainfo, scale_factor=(1.0, 1.0))
        last_head.predict_by_feat(
            [torch.stack(probabilities).mean(0) if probabilities else None],
            [found],
            [meta],
            self.module.roi_head.test_cfg,
            activate_map=True,  # the values are already probabilities
        )

    def _mask_probabilities(self, found: InstanceData, view: _View, number: int) -> Tensor:
        """Return mask probabilities, (boxes, classes, height, width), with the flip undone."""
        meta = view.samples[number].metainfo
        boxes = _flip(found.bboxes, meta)
        boxes = boxes * boxes.new_tensor(meta['scale_factor']).repeat(2)
        rois = bbox2roi([boxes])
        rois[:, 0] = number
        roi_head = self.module.roi_head
        parts: Any = stages(roi_head, 'mask')
        of_stages = []
        for extractor, head in parts:
            features = extractor(view.features[: extractor.num_inputs], rois)
            if roi_head.with_shared_head:
                features = roi_head.shared_head(features)
            of_stages.append(head(features).sigmoid())
        masks = torch.stack(of_stages).mean(0)
        return masks.flip(_FLIPPED[meta['flip_direction']]) if meta.get('flip') else masks


def _flip(boxes: Tensor, meta: Mapping) -> Tensor:
    """Map boxes from a view to the image, or back: a flip is its own inverse."""
    if not meta.get('flip'):
        return boxes
    return bbox_flip(boxes, meta['ori_shape'], meta['flip_direction'])
