"""What the backward pass keeps, against the rival that keeps least."""

import pytest
import timm
import torch
from torch import Tensor, nn

from mmconvnext.backbones import ConvNeXt


def kept_bytes(model: nn.Module, image: Tensor, low: bool) -> int:
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    storages: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        if x.data_ptr() not in parameters:
            # The tensor is held, lest another takes its place in memory.
            storages[x.untyped_storage().data_ptr()] = x
        return x

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
        torch.autocast('cpu', torch.bfloat16, enabled=low),
    ):
        model(image)
    return sum(x.untyped_storage().nbytes() for x in storages.values())


@pytest.mark.parametrize('low', [False, True], ids=['float32', 'autocast'])
@pytest.mark.parametrize('name', ['convnext_tiny', 'convnextv2_tiny'])
def test_keeps_less_than_timm(name: str, low: bool) -> None:
    ours = ConvNeXt('tiny', use_grn='v2' in name).train()
    theirs = timm.create_model(name, features_only=True).train()
    image = torch.randn(1, 3, 128, 128)
    least = min(
        kept_bytes(theirs, image.contiguous(memory_format=layout), low)
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    assert kept_bytes(ours, image, low) <= 0.6 * least
