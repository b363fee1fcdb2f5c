"""A config's test pipeline, for images without annotations."""

from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import TRANSFORMS, DefaultScope

from mmconvnext.config_types import type_name
from mmconvnext.errors import UserError, first_line
from mmconvnext.inference.classes import tested_dataset

# Steps with one of these words in their names only read or change annotations.
_OF_ANNOTATIONS = ('LoadAnnotations', 'LoadPanopticAnnotations', 'FilterAnnotations')


class Pipeline:
    """Loads images and makes batches of one image, like the config's test dataset.

    Raises:
        UserError: ``test_dataloader.dataset.pipeline`` does not begin with LoadImageFromFile.
    """

    def __init__(self, config: Config) -> None:
        steps = [dict(step) for step in tested_dataset(config).get('pipeline') or ()]
        if not steps or type_name(steps[0]) != 'LoadImageFromFile':
            raise UserError(
                'test_dataloader.dataset.pipeline: expected steps that begin with '
                f'LoadImageFromFile, got {steps[0] if steps else "none"}'
            )
        loading = steps[0]
        steps[0] = dict(type='LoadImageFromNDArray', to_float32=loading.pop('to_float32', False))
        steps = [one for one in steps if not any(n in type_name(one) for n in _OF_ANNOTATIONS)]
        scope = DefaultScope.overwrite_default_scope(config.get('default_scope'))
        with scope, TRANSFORMS.switch_scope_and_registry(None) as registry:
            self._load = registry.build(loading)
            self._prepare = Compose([registry.build(step) for step in steps])

    def load(self, path: Path) -> np.ndarray:
        """Return an image's pixels, (H, W, C), usually BGR; raise UserError if unreadable."""
        try:
            return self._load(dict(img_path=str(path)))['img']
        except (AssertionError, OSError, ValueError, cv2.error) as error:
            raise UserError(f'{path}: {_reason(path)}') from error

    def prepare(self, image: np.ndarray) -> dict:
        """Return a batch of one image for ``test_step``; raise UserError if it is too narrow."""
        try:
            return pseudo_collate([self._prepare(dict(img=image, img_id=0))])
        except cv2.error as error:
            height, width = image.shape[:2]
            raise UserError(
                f'the test pipeline fails on an image of {width} × {height} pixels, which may be '
                f'too narrow to be resized ({first_line(error)})'
            ) from error


def _reason(path: Path) -> str:
    try:
        size = path.stat().st_size
        path.open('rb').close()
    except OSError as error:
        return f'could not be opened ({error.strerror})'
    return 'is not an image that OpenCV reads, or is cut short' if size else 'is empty'
