"""Which picture left no room for an anchor: mmdet ends the training without its name."""

import functools
from collections.abc import Callable
from typing import Any

from mmdet.models.dense_heads import AnchorHead

from mmconvnext.errors import UserError


def name_pictures_without_anchors() -> None:
    """Make mmdet's anchor heads name the picture in which no anchor fits.

    So it is with ``allowed_border`` of 0, the cascades' recipe, and a picture that is a few pixels
    wide or high after the augmentation. :class:`UserError` is raised where mmdet raises ValueError.
    Safe to call again.
    """
    targets = AnchorHead._get_targets_single
    if not hasattr(targets, '__wrapped__'):
        AnchorHead._get_targets_single = _naming(targets)


def _naming(targets: Callable) -> Callable:
    @functools.wraps(targets)
    def naming(self: AnchorHead, *given: Any, **options: object) -> object:
        try:
            return targets(self, *given, **options)
        except ValueError as error:
            if 'no valid anchor' not in str(error):
                raise
            meta = given[3]  # after anchors, flags and instances
            height, width = meta['img_shape'][:2]
            raise UserError(
                f'{meta.get("img_path", "a picture")}: expected room for an anchor, got {width} × '
                f'{height} pixels after the augmentation; take it out of the data set, filter by '
                'train_dataloader.dataset.filter_cfg.min_size, or set '
                'model.train_cfg.rpn.allowed_border=-1'
            ) from error

    return naming
