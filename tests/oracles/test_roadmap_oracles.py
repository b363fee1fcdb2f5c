"""The roadmap's first step equals torchvision's ResNet, under one state dict with mapped names."""

import pytest
import torch

from mmconvnext.studies.roadmap import RoadmapNet


def to_torchvision(name: str) -> str:
    """torchvision's name of a parameter or buffer of the first step."""
    part, *rest = name.split('.')
    if part == 'stem':
        return '.'.join([{'0': 'conv1', '1': 'bn1'}[rest[0]], *rest[1:]])
    stage, block, kind, position, *tail = rest
    if kind == 'shortcut':
        layer = f'downsample.{position}'
    else:
        layer = f'{"conv" if kind == "convs" else "bn"}{int(position) + 1}'
    return '.'.join([f'layer{int(stage) + 1}', block, layer, *tail])


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('size', [(224, 224), (97, 131)])
def test_matches_torchvision(size: tuple[int, int], training: bool) -> None:
    torchvision = pytest.importorskip('torchvision')
    ours = RoadmapNet('resnet50')
    ours.init_weights()
    with torch.no_grad():
        for conv in (m for m in ours.modules() if isinstance(m, torch.nn.Conv2d)):
            torch.nn.init.kaiming_normal_(conv.weight, mode='fan_out')
        for tensor in [*ours.parameters(), *ours.buffers()]:
            if tensor.ndim == 1:
                tensor.add_(torch.rand_like(tensor), alpha=0.1)
    theirs = torchvision.models.resnet50()
    state = {to_torchvision(name): value for name, value in ours.state_dict().items()}
    left = theirs.load_state_dict(state, strict=False)
    assert left.missing_keys == ['fc.weight', 'fc.bias']
    assert left.unexpected_keys == []
    for net in (ours, theirs):
        net.train(training)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        expected = []
        for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            x = layer(x)
            expected.append(x)
        got = ours(image)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        if not training:
            logits = torch.nn.functional.linear(
                got[-1].mean((2, 3)), theirs.fc.weight, theirs.fc.bias
            )
            torch.testing.assert_close(logits, theirs(image), atol=1e-4, rtol=1e-4)
    for name, value in ours.state_dict().items():  # running statistics among them
        torch.testing.assert_close(value, theirs.state_dict()[to_torchvision(name)])


def test_first_step_has_torchvisions_parameters() -> None:
    torchvision = pytest.importorskip('torchvision')
    with torch.device('meta'):
        ours, theirs = RoadmapNet('resnet50'), torchvision.models.resnet50()
    names = {to_torchvision(name) for name, _ in ours.named_parameters()}
    assert names == {name for name, _ in theirs.named_parameters()} - {'fc.weight', 'fc.bias'}
