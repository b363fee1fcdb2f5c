"""Published weights of ConvNeXt backbones, by name.

Names are those of the classifiers in configs/metafile.yml. Weights without a classifier here have
similar names: ``convnext_t_in22k``, ``convnextv2_t_fcmae``, ``convnext_t_dinov3``.

Sources: facebookresearch/ConvNeXt @048efce and facebookresearch/ConvNeXt-V2 @1e48272, README.md;
DINOv3's are timm's copies (timm 1.0.31, timm/models/convnext.py), which need no registration.
"""

import difflib
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import NamedTuple

from mmconvnext.errors import ArgumentError


class Pretrained(NamedTuple):
    """Published weights of a backbone: size, file and licence."""

    arch: str
    use_grn: bool
    checkpoint: str  # an argument of :func:`~mmconvnext.checkpoints.fetch.fetch`
    licence: str


_SERVER = 'https://dl.fbaipublicfiles.com/convnext'
_HUB = 'hf://timm/convnext_{}.dinov3_lvd1689m/model.safetensors'
_SHORT = {'tiny': 't', 'small': 's', 'base': 'b', 'large': 'l', 'xlarge': 'xl', 'huge': 'h'}
_V2_SIZES = ('atto', 'femto', 'pico', 'nano', 'tiny', 'base', 'large', 'huge')


def _v1() -> Iterator[tuple[str, Pretrained]]:
    for size in ('tiny', 'small', 'base', 'large', 'xlarge'):
        # XL has no weights trained on ImageNet-1K alone, and its fine-tuned weights are averages.
        largest = size == 'xlarge'
        ema = '_ema' if largest else ''
        files = {
            'in1k': '22k_1k_224_ema' if largest else '1k_224_ema',
            'in22k': '22k_224',
            'in22k_in1k': f'22k_1k_224{ema}',
            'in22k_in1k_384': f'22k_1k_384{ema}',
        }
        for data, file in files.items():
            checkpoint = f'{_SERVER}/convnext_{size}_{file}.pth'
            name = f'convnext_{_SHORT[size]}_{data}'
            yield name, Pretrained(size, False, checkpoint, 'MIT')


def _v2() -> Iterator[tuple[str, Pretrained]]:
    for size in _V2_SIZES:
        files = {'fcmae': 'pt_only/{}_1k_224_fcmae.pt', 'in1k': 'im1k/{}_1k_224_ema.pt'}
        if size in ('nano', 'tiny', 'base', 'large'):
            files['in22k_in1k'] = 'im22k/{}_22k_224_ema.pt'
        if size in ('nano', 'tiny', 'base', 'large', 'huge'):
            files['in22k_in1k_384'] = 'im22k/{}_22k_384_ema.pt'
        if size == 'huge':
            files['in22k_in1k_512'] = 'im22k/{}_22k_512_ema.pt'
        for data, file in files.items():
            checkpoint = f'{_SERVER}/convnextv2/{file.format(f"convnextv2_{size}")}'
            name = f'convnextv2_{_SHORT.get(size, size)}_{data}'
            yield name, Pretrained(size, True, checkpoint, 'CC BY-NC 4.0')


def _dinov3() -> Iterator[tuple[str, Pretrained]]:
    for size in ('tiny', 'small', 'base', 'large'):
        name = f'convnext_{_SHORT[size]}_dinov3'
        yield name, Pretrained(size, False, _HUB.format(size), 'DINOv3 License')


PRETRAINED = {name: one for make in (_v1, _v2, _dinov3) for name, one in make()}


def list_models(pattern: str = '*') -> list[str]:
    """Return the names of published weights that match a pattern such as ``'*_in22k*'``."""
    return [name for name in PRETRAINED if fnmatch(name, pattern)]


def find_pretrained(name: str) -> Pretrained:
    """Return the published weights with this name.

    Raises:
        ArgumentError: (a ValueError) there are no weights with this name.
    """
    if name not in PRETRAINED:
        near = difflib.get_close_matches(name, PRETRAINED, n=3)
        hint = f'; did you mean {" or ".join(near)}?' if near else ''
        raise ArgumentError(
            f'pretrained weights: expected a name that mmconvnext.list_models() returns, got '
            f'{name!r}{hint}'
        )
    return PRETRAINED[name]
