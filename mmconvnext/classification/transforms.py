"""Cropping and packing of images for a classifier.

Resizing is Pillow's bicubic, which takes every pixel into account as it makes an image smaller:
the published accuracies were measured with it, and OpenCV's gives others.
"""

import math

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement
from PIL import Image

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import TRANSFORMS

_TRIES = 10
_WHOLE = 384  # from this size on the papers test the whole image


@TRANSFORMS.register_module()
class EvaluationCrop(BaseTransform):
    """The image as the papers test it: ``results['img']``, (H, W, C) uint8 → (size, size, C).

    Below 384 the shorter side is resized to size / 0.875 and the centre cut out; from 384 on the
    image is resized to size × size, which changes its proportions, without a cut.

    Raises:
        ArgumentError: the size is not positive.

    Source: facebookresearch/ConvNeXt @048efce, datasets.py, ``build_transform``.
    """

    def __init__(self, size: int = 224) -> None:
        self.size = _positive(size)

    def transform(self, results: dict) -> dict:
        image = results['img']
        height, width = image.shape[:2]
        if self.size >= _WHOLE:
            image = _resize(image, self.size, self.size)
        else:
            short = int(self.size / 0.875)
            long = int(short * max(height, width) / min(height, width))
            height, width = (short, long) if height <= width else (long, short)
            image = _resize(image, height, width)
            # Python rounds halves to even numbers, as torchvision's centre crop does.
            top, left = round((height - self.size) / 2), round((width - self.size) / 2)
            image = image[top : top + self.size, left : left + self.size]
        return _with_image(results, image)


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """A random part of ``results['img']``, (H, W, C) uint8, resized to (size, size, C).

    Its share of the image's area, in ``scale``, is uniform, and so is the logarithm of its
    width / height, in ``ratio``. What does not fit is drawn again, ten times; then it is the
    largest central part whose ratio is allowed.

    Raises:
        ArgumentError: the size is not positive, or a range is none.

    Source: Szegedy et al., Going deeper with convolutions (arXiv 1409.4842), section 6.
    """

    def __init__(
        self,
        size: int = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = _positive(size)
        for name, (low, high) in (('scale', scale), ('ratio', ratio)):
            if not 0 < low <= high:
                raise ArgumentError(f'{name}: expected 0 < low ≤ high, got {(low, high)}')
        self.scale, self.ratio = scale, ratio

    def transform(self, results: dict) -> dict:
        image = results['img']
        top, left, height, width = self._draw_box(*image.shape[:2])
        part = image[top : top + height, left : left + width]
        return _with_image(results, _resize(part, self.size, self.size))

    def _draw_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width."""
        for _ in range(_TRIES):
            area = height * width * np.random.uniform(*self.scale)
            ratio = math.exp(np.random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                return np.random.randint(height - h + 1), np.random.randint(width - w + 1), h, w
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        h, w = min(height, round(width / ratio)), min(width, round(height * ratio))
        return (height - h) // 2, (width - w) // 2, h, w


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """``inputs``, (C, H, W) of the image's type, and ``data_samples`` with ``gt_label``, (1,)."""

    def transform(self, results: dict) -> dict:
        image = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        keys = ('sample_idx', 'img_path', 'ori_shape', 'img_shape')
        sample = BaseDataElement(metainfo={key: results[key] for key in keys if key in results})
        if 'gt_label' in results:
            sample.gt_label = torch.tensor([results['gt_label']])
        return {'inputs': torch.from_numpy(image), 'data_samples': sample}


def _positive(size: int) -> int:
    if not isinstance(size, int) or size < 1:
        raise ArgumentError(f'size: expected a side in pixels, got {size!r}')
    return size


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    # Channels are treated alike, so that BGR may pass for RGB.
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def _with_image(results: dict, image: np.ndarray) -> dict:
    return {**results, 'img': image, 'img_shape': image.shape[:2]}
