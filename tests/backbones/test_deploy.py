import copy

import pytest
import torch
from torch import nn

from mmconvnext.backbones import ConvNeXt


def a_backbone(**kwargs) -> ConvNeXt:
    backbone = ConvNeXt(dict(depths=(1, 2, 1, 1), channels=(8, 8, 12, 16)), **kwargs)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    return backbone


@pytest.mark.parametrize('use_grn', [False, True])
@pytest.mark.parametrize('scale', [0.0, 1.0])
@pytest.mark.parametrize('fast', [False, True])
def test_equals_the_training_form(use_grn: bool, scale: float, fast: bool) -> None:
    torch.manual_seed(0)
    backbone = a_backbone(use_grn=use_grn, layer_scale_init_value=scale, fast=fast).double()
    image = torch.randn(2, 3, 70, 45, dtype=torch.float64)
    expected = backbone.eval()(image)
    backbone.switch_to_deploy()
    names = dict(backbone.named_parameters())
    assert not any('gamma' in name and 'grn' not in name for name in names)
    assert not any(name.startswith('stages') and '.norm.' in name for name in names)
    for ours, plain in zip(backbone(image), expected):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


def test_equals_the_training_form_in_float32() -> None:
    torch.manual_seed(0)
    backbone = a_backbone().eval()
    image = torch.randn(1, 3, 64, 64)
    expected = backbone(image)
    backbone.switch_to_deploy()
    for ours, plain in zip(backbone(image), expected):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_switches_back_to_the_very_parameters() -> None:
    backbone = a_backbone()
    before, state = dict(backbone.named_parameters()), copy.deepcopy(backbone.state_dict())
    backbone.switch_to_deploy()
    backbone.switch_to_deploy()  # has no further effect
    backbone.switch_back()
    after = dict(backbone.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_is_for_inference() -> None:
    backbone = a_backbone(fast=True)
    backbone.switch_to_deploy()
    assert not backbone.training
    with pytest.raises(ValueError, match=r'got its deploy form; call switch_back\(\)'):
        backbone.train()
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    backbone(image)[-1].sum().backward()  # a gradient of the image is still to be had
    plain = copy.deepcopy(backbone)
    for block in plain.stages[0]:
        block.fast = False
    again = image.detach().clone().requires_grad_()
    plain(again)[-1].sum().backward()
    torch.testing.assert_close(image.grad, again.grad, rtol=1e-4, atol=1e-4)
    backbone.switch_back()
    assert backbone.train().training


def test_replaced_layers_keep_their_factors() -> None:
    torch.manual_seed(0)
    backbone = a_backbone().eval()

    class Adapted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + x.mean(-1, keepdim=True)

    block = backbone.stages[1][0]
    adapted = Adapted(8, 32)
    adapted.load_state_dict(block.pwconv1.state_dict())
    block.pwconv1 = adapted
    image = torch.randn(1, 3, 64, 64)
    expected = backbone(image)
    backbone.switch_to_deploy()
    assert block.gamma is not None
    for ours, plain in zip(backbone(image), expected):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_takes_no_checkpoint() -> None:
    backbone = a_backbone()
    state = backbone.state_dict()
    backbone.switch_to_deploy()
    with pytest.raises(ValueError, match='load_state_dict: expected a model in its training form'):
        backbone.load_state_dict(state, strict=False)
    backbone.switch_back()
    backbone.load_state_dict(state)


def test_converting_converts_what_is_restored() -> None:
    backbone = a_backbone()
    backbone.switch_to_deploy()
    backbone.double()
    backbone.switch_back()
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float64}


def test_exports() -> None:
    backbone = a_backbone(use_grn=True)
    backbone.switch_to_deploy()
    image = torch.randn(1, 3, 64, 64)
    program = torch.export.export(backbone, (image,))
    for ours, plain in zip(program.module()(image), backbone(image)):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
