"""Name images that have no valid anchor: mmdet ends the training without the name."""

import functools

from mmdet.models.dense_heads import AnchorHead
from mmengine.structures import InstanceData
from torch import Tensor

from mmconvnext.errors import UserError


def name_images_without_anchors() -> None:
    """Make mmdet's anchor heads name an image that has no valid anchor.

    This happens with ``allowed_border=0``, as in the cascades' recipe, if an image is only a few
    pixels wide or high after the augmentation. Raises :class:`UserError` instead of mmdet's
    ValueError. Safe to call again.
    """
    targets = AnchorHead._get_targets_single
    if hasattr(targets, '__wrapped__'):
        return

    @functools.wraps(targets)
    def naming(
        self: AnchorHead,
        flat_anchors: Tensor,
        valid_flags: Tensor,
        gt_instances: InstanceData,
        img_meta: dict,
        *others: object,
        **options: object,
    ) -> tuple:
        try:
            return targets(
                self, flat_anchors, valid_flags, gt_instances, img_meta, *others, **options
            )
        except ValueError as error:
            if 'no valid anchor' not in str(error):
                raise
            height, width = img_meta['img_shape'][:2]
            raise UserError(
                f'{img_meta.get("img_path", "an image")}: expected space for an anchor, got '
                f'{width} × {height} pixels after the augmentation; remove it from the dataset, '
                'filter by train_dataloader.dataset.filter_cfg.min_size, or set '
                'model.train_cfg.rpn.allowed_border=-1'
            ) from error

    AnchorHead._get_targets_single = naming
