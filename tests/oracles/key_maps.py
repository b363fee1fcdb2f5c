"""Our parameter names in the rivals' words, for one architecture at a time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Rename = Callable[[str], str]


def timm_key(key: str) -> str:
    part, *rest = key.split('.')
    if part == 'downsample_layers':
        stage, layer, name = rest
        return (
            f'stem.{layer}.{name}' if stage == '0' else f'stages.{stage}.downsample.{layer}.{name}'
        )
    stage, block, *name = rest
    renamed = {'dwconv': 'conv_dw', 'pwconv1': 'mlp.fc1', 'pwconv2': 'mlp.fc2', 'grn': 'mlp.grn'}
    name[0] = renamed.get(name[0], name[0])
    if name[0] == 'mlp.grn':
        name[1] = {'gamma': 'weight', 'beta': 'bias'}[name[1]]
    return f'stages.{stage}.blocks.{block}.{".".join(name)}'


def torchvision_key(key: str) -> str:
    part, *rest = key.split('.')
    if part == 'downsample_layers':
        stage, layer, name = rest
        return f'features.{2 * int(stage)}.{layer}.{name}'
    stage, block, *name = rest
    at = f'features.{2 * int(stage) + 1}.{block}'
    if name == ['gamma']:
        return f'{at}.layer_scale'
    layer = {'dwconv': 0, 'norm': 2, 'pwconv1': 3, 'pwconv2': 5}[name[0]]
    return f'{at}.block.{layer}.{name[1]}'


def transformers_key(key: str) -> str:
    part, *rest = key.split('.')
    if part.startswith('norm'):
        return f'hidden_states_norms.stage{int(part[4:]) + 1}.{rest[0]}'
    if part == 'downsample_layers':
        stage, layer, name = rest
        if stage == '0':
            return f'embeddings.{("patch_embeddings", "layernorm")[int(layer)]}.{name}'
        return f'encoder.stages.{stage}.downsampling_layer.{layer}.{name}'
    stage, block, *name = rest
    if name == ['gamma']:
        name = ['layer_scale_parameter']
    elif name[0] == 'grn':
        name[1] = {'gamma': 'weight', 'beta': 'bias'}[name[1]]
    elif name[0] == 'norm':
        name[0] = 'layernorm'
    return f'encoder.stages.{stage}.layers.{block}.{".".join(name)}'


@torch.no_grad()
def copy_parameters(ours: nn.Module, rival: nn.Module, rename: Rename) -> dict[str, Tensor]:
    """Give ``rival`` our weights; returns its parameters under our names."""
    theirs = dict(rival.named_parameters())
    matched = {}
    for key, value in ours.named_parameters():
        parameter = theirs.get(rename(key)) if 'norm_' not in key else None
        if parameter is None:
            continue
        parameter.copy_(value.reshape(parameter.shape))
        matched[key] = parameter
    return matched
