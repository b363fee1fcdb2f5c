"""Describe a model in words, by the names and shapes of its tensors."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor

from mmconvnext.architectures import find_size

STEM = 'downsample_layers.0.0.weight'

# Parts of keys that identify other contents of a file, and other models.
_WHOLE = {
    'roi_head.': 'detector',
    'rpn_head.': 'detector',
    'bbox_head.': 'detector',
    'decode_head.': 'segmentor',
    'logit_scale': 'CLIP model',
}
_OTHERS = {
    'relative_position_bias_table': 'Swin',
    'cpb_mlp': 'Swin V2',
    'attn.qkv': 'a ViT',
    'bn1.': 'a ResNet',
}
_V2 = "ConvNeXt V2's published weights are CC BY-NC 4.0: not for commercial use"
_DINOV3 = "DINOv3's published weights have a licence of their own, the DINOv3 License"
_TO_THE_BACKBONE = (
    'to start a head of other classes from it, give it to the backbone: tools/train.py --pretrained'
)


def backbone_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a whole model's tensors below ``backbone.``, without that prefix."""
    return {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}


def dimensions(state: Mapping[str, Tensor]) -> tuple[list[int], list[int]]:
    """Return each stage's blocks and channels, from officially named tensors; 0 if unknown."""
    depths, channels = [], []
    for stage in range(4):
        depths.append(len({k.split('.')[2] for k in state if k.startswith(f'stages.{stage}.')}))
        width = state.get(f'stages.{stage}.0.dwconv.weight')
        channels.append(0 if width is None else width.shape[0])
    return depths, channels


def size_name(state: Mapping[str, Tensor]) -> str | None:
    """Return the size of officially named tensors, such as ``'tiny'``, or None."""
    depths, channels = dimensions(state)
    return find_size(depths, channels[0])


def describe_size(state: Mapping[str, Tensor]) -> str:
    """Return depths and channels of officially named tensors, in a few words."""
    depths, channels = dimensions(state)
    told = f'depths {"-".join(map(str, depths))}'
    told += f', channels {"-".join(str(n or "?") for n in channels)}'
    grn = ', GRN' if any('.grn.' in key for key in state) else ''
    name = find_size(depths, channels[0])
    return f'{f"{name}: " if name else ""}{told}{grn}'


def describe_whole(keys: Iterable[str]) -> str:
    """Return which whole model has these keys, such as ``'a whole detector'``, or ''."""
    for piece, name in _WHOLE.items():
        if any(piece in key for key in keys):
            return f'a whole {name}'
    return ''


def other_model(keys: Iterable[str]) -> str:
    """Return which model other than ConvNeXt has these keys, such as ``'Swin'``, or ''."""
    return next((name for piece, name in _OTHERS.items() if any(piece in key for key in keys)), '')


def resemblance(keys: Iterable[str]) -> str:
    """Return a hint on unknown keys, such as ``' (these look like Swin)'``, or ''."""
    other, whole = other_model(keys), describe_whole(keys)
    if not other:
        return f' (this is {whole})' if whole else ''
    what = f'this is {whole}, its backbone looks' if whole else 'these look'
    return f' ({what} like {other})'


def backbone_misfit(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    """Return the likely reason why a file's backbone does not fit; both officially named; or ''."""
    if STEM not in state:
        return ''
    if state[STEM].shape[2:] != (4, 4):
        return "its stem's patches overlap (timm's _ols models), which is another network"
    if 'stages.0.0.norm.bias' not in state:
        return "its norms have no bias (timm's _rms models), which is another network"
    theirs, ours = size_name(state), size_name(target)
    if theirs != ours and theirs:
        return f'this is the size {theirs}, the config says {ours or "another one"}'
    grn = ['.grn.' in ' '.join(keys) for keys in (state, target)]
    if grn[0] != grn[1]:
        return f'this is ConvNeXt V{1 + grn[0]}, the config says use_grn={grn[1]}'
    return ''


def classifier_misfit(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    """Return the likely reason why a file does not fit an ``ImageClassifier``, or ''."""
    if whole := describe_whole(state):
        return f'this is {whole}, not a classifier; {_TO_THE_BACKBONE}'
    if body := backbone_misfit(*(backbone_of(tensors) for tensors in (state, target))):
        return body
    if 'head.weight' not in state:
        return f'it has no head that fits here; {_TO_THE_BACKBONE}'
    theirs, ours = (len(tensors['head.weight']) for tensors in (state, target))
    told = f'it has {theirs} classes, the config says num_classes={ours}'
    return f'{told}; {_TO_THE_BACKBONE}' if theirs != ours else ''


def announce_licence(family: str, keys: Iterable[str], source: str | Path) -> None:
    """Log, once per process, the licence restrictions on a family's weights.

    ``keys`` are the official ones and those left aside. timm's copies of DINOv3's weights have
    timm's usual keys; they are recognised by ``source``, the file's name or its address.
    """
    if family == 'hf-dinov3' or 'norms.3.weight' in keys or 'dinov3' in _address(source):
        _announce(_DINOV3)
    elif any('.grn.' in key for key in keys):
        _announce(_V2)


def _address(source: str | Path) -> str:
    text = str(source).lower()
    return text if '://' in text else Path(text).name


@functools.cache
def _announce(notice: str) -> None:
    print_log(notice, logger='current')
