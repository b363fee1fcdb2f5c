"""Crop and pack images for a classifier.

Images are resized with Pillow's bicubic filter, which is antialiased: the published accuracies were
measured with it, and OpenCV's filter gives other accuracies.
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
_WHOLE = 384  # from this size the papers test the whole image


@TRANSFORMS.register_module()
class EvaluationCrop(BaseTransform):
    """Resize and crop as in the papers' tests: ``results['img']``, (H, W, C) → (size, size, C).

    Below 384 the shorter side is resized to size / 0.875 and the centre is cropped. From 384 the
    image is resized to size × size without a crop, which changes its aspect ratio. Images are
    uint8.

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
    """Crop a random part of ``results['img']``, (H, W, C) uint8; resize it to (size, size, C).

    Its fraction of the image's area is uniform in ``scale``, and the logarithm of its
    width / height is uniform in ``ratio``. A crop that does not fit is drawn again, up to ten
    times; then the largest central crop with an allowed ratio is used.

    Raises:
        ArgumentError: the size is not positive, or a range is invalid.

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
        """Return top, left, height and width of a random crop."""
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
    """Pack ``inputs``, (C, H, W) in the image's dtype, and ``data_samples``, ``gt_label`` (1,)."""

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
    # All channels are treated the same, so that BGR can be passed as RGB.
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def _with_image(results: dict, image: np.ndarray) -> dict:
    return {**results, 'img': image, 'img_shape': image.shape[:2]}
