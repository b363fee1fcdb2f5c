"""timm's mixup, cutmix, RandAugment and random erasing.

timm is imported when an augmentation is built, so that testing does not need it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from torch import Tensor

from mmconvnext.errors import ArgumentError, first_line
from mmconvnext.registry import TRANSFORMS

#: Arguments of timm's ``Mixup`` that a config may give.
MIXING_OPTIONS = ('mixup_alpha', 'cutmix_alpha', 'cutmix_minmax', 'prob', 'switch_prob', 'mode')

# ImageNet's mean, RGB, 0 to 255.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_TRANSLATION = 0.45  # maximal, as a fraction of the shorter side: timm's create_transform


def import_timm(what: str) -> ModuleType:
    """Import timm's ``data`` package; ``what`` is the config's entry that needs it, for messages.

    Raises:
        ArgumentError: timm cannot be imported; it needs a torchvision that fits torch.
    """
    try:
        import timm.data

        return timm.data
    except Exception as error:  # timm is missing, or torchvision does not fit torch
        raise ArgumentError(
            f'{what}: expected timm (pip install "mmconvnext[timm]"), got '
            f'{type(error).__name__} ({first_line(error)}); or remove it from the config'
        ) from error


def build_mixing(
    options: Mapping[str, object], num_classes: int, label_smoothing: float
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return timm's ``Mixup``, which does mixup and cutmix.

    Missing ``options`` (see :data:`MIXING_OPTIONS`) are off, or timm's defaults. Call it with
    (N, C, H, W) images and (N,) labels, N even: it changes the images in place and returns them
    with (N, num_classes) targets.

    Raises:
        ArgumentError: timm cannot be imported.
    """
    mixup = import_timm('mixing=dict(…) of the model').Mixup
    options = {'mixup_alpha': 0.0, 'cutmix_alpha': 0.0, **options}
    return mixup(**options, label_smoothing=label_smoothing, num_classes=num_classes)


@TRANSFORMS.register_module()
class TimmRandAugment(BaseTransform):
    """timm's RandAugment for ``results['img']``, (H, W, 3) uint8 BGR.

    ``config`` is timm's name of a policy, by default the paper's. Empty areas of shifted images are
    filled with ``mean``, RGB.

    Raises:
        ArgumentError: timm cannot be imported or does not know the policy.
    """

    def __init__(self, config: str = 'rand-m9-mstd0.5-inc1', mean: Sequence[float] = _MEAN) -> None:
        self.config = config
        self.mean = tuple(round(value) for value in mean)
        self._build = import_timm('TimmRandAugment').rand_augment_transform
        self._by_side: dict[int, Callable[[Image.Image], Image.Image]] = {}
        self._for_side(224)  # reports an unknown policy now

    def _for_side(self, side: int) -> Callable[[Image.Image], Image.Image]:
        if side not in self._by_side:
            options = dict(
                translate_const=int(side * _TRANSLATION),
                img_mean=self.mean,
                interpolation=Image.Resampling.BICUBIC,
            )
            try:
                self._by_side[side] = self._build(self.config, options)
            except (AssertionError, ValueError, KeyError) as error:
                raise ArgumentError(
                    f"TimmRandAugment: expected a policy such as 'rand-m9-mstd0.5-inc1', got "
                    f'{self.config!r} ({first_line(error)})'
                ) from error
        return self._by_side[side]

    def transform(self, results: dict) -> dict:
        image = results['img']
        augment = self._for_side(min(image.shape[:2]))
        rgb = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        results['img'] = np.ascontiguousarray(np.asarray(augment(rgb))[..., ::-1])
        return results


@TRANSFORMS.register_module()
class TimmRandomErasing(BaseTransform):
    """timm's random erasing for ``results['img']``, (H, W, 3) BGR; the result is float32.

    timm erases normalised images, with noise of mean 0 and deviation 1. Here the model normalises
    later, so the noise gets the mean and deviation that the normalisation removes.

    Args:
        prob: Fraction of images with an erased area.
        mode: ``'pixel'`` for noise in each pixel, ``'rand'`` for one random colour, ``'const'``
            for the mean.
        mean: Mean of the model's data_preprocessor, RGB.
        std: Standard deviation of the model's data_preprocessor, RGB.

    Raises:
        ArgumentError: timm cannot be imported.
    """

    def __init__(
        self,
        prob: float = 0.25,
        mode: str = 'pixel',
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
    ) -> None:
        if mode not in ('pixel', 'rand', 'const'):
            raise ArgumentError(f"mode: expected 'pixel', 'rand' or 'const', got {mode!r}")
        erasing = import_timm('TimmRandomErasing').random_erasing.RandomErasing
        self._erase = erasing(prob, mode=mode, device='cpu')
        self.mean = torch.tensor(mean[::-1])[:, None, None]
        self.std = torch.tensor(std[::-1])[:, None, None]

    def transform(self, results: dict) -> dict:
        image = torch.from_numpy(np.ascontiguousarray(results['img'])).permute(2, 0, 1).float()
        # Pixels that timm does not erase stay NaN, which identifies them.
        noise = self._erase(torch.full_like(image, torch.nan))
        erased = torch.where(noise.isnan(), image, noise * self.std + self.mean)
        results['img'] = erased.permute(1, 2, 0).contiguous().numpy()
        return results
