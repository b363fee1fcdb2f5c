"""torch.compile with its own backend: training as it is done, at fixed and at changing sizes."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch import _inductor as inductor

from mmconvnext.backbones import ConvNeXt, compiled_block
from mmconvnext.segmentation import UPerHead
from tests.conftest import CONFIGS, SMALL

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings('ignore'),  # dynamo's and inductor's own
]
SIZES = {False: [(64, 96)] * 4, True: [(64, 96), (96, 64), (64, 128), (96, 96)]}
Loss = Callable[[nn.Module, tuple[int, int]], Tensor]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing compiled before; and what is drawn is drawn as in eager mode."""
    torch._dynamo.reset()
    compiled_block._compiled.cache_clear()
    with inductor.config.patch(fallback_random=True):
        yield
    torch._dynamo.reset()


def compiled(model: nn.Module, dynamic: bool) -> nn.Module:
    """As mmconvnext.Runner compiles it."""
    options = {'layout_optimization': False, 'fallback_random': True}
    return torch.compile(model, dynamic=dynamic or None, options=options)


def trained(model: nn.Module, run: nn.Module, loss: Loss, dynamic: bool, amp: bool) -> list[Tensor]:
    """Losses of four iterations of two updates, and the parameters after them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    losses = []
    for number, size in enumerate(SIZES[dynamic]):
        torch.manual_seed(number)
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            value = loss(run, size)
        losses.append(value.detach().float())
        wrapper.update_params(value)
    return [torch.stack(losses), *(parameter.detach() for parameter in model.parameters())]


def compare(
    eager: nn.Module, ours: nn.Module, run: nn.Module, loss: Loss, dynamic: bool, amp: bool
):
    ours.load_state_dict(eager.state_dict())
    expected = trained(eager.train(), eager, loss, dynamic, amp)
    found = trained(ours.train(), run, loss, dynamic, amp)
    tolerance = dict(rtol=3e-2, atol=2e-2) if amp else dict(rtol=1e-3, atol=1e-4)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def of_maps(run: nn.Module, size: tuple[int, int]) -> Tensor:
    return sum(y.float().square().mean() for y in run(torch.randn(2, 3, *size)))


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bf16'])
@pytest.mark.parametrize('dynamic', [False, True], ids=['fixed', 'dynamic'])
@pytest.mark.parametrize('blocks', [False, True], ids=['whole', 'blocks'])
@pytest.mark.parametrize('grn', [False, True], ids=['v1', 'v2'])
def test_backbone(grn: bool, blocks: bool, dynamic: bool, amp: bool) -> None:
    options = dict(arch=SMALL, use_grn=grn, drop_path_rate=0.4)
    options['layer_scale_init_value'] = 0.0 if grn else 0.5
    ours = ConvNeXt(**options, compile_blocks=blocks)
    run = ours if blocks else compiled(ours, dynamic)
    compare(ConvNeXt(**options, fast=False), ours, run, of_maps, dynamic, amp)


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bf16'])
@pytest.mark.parametrize('dynamic', [False, True], ids=['fixed', 'dynamic'])
def test_head(dynamic: bool, amp: bool) -> None:
    options = dict(in_channels=SMALL['channels'], in_index=[0, 1, 2, 3], channels=16)
    options |= dict(num_classes=5, norm_cfg=dict(type='BN', eps=0.1), dropout_ratio=0.0)

    def loss(run: nn.Module, size: tuple[int, int]) -> Tensor:
        maps = [
            torch.randn(2, channels, *(side // stride for side in size))
            for channels, stride in zip(SMALL['channels'], (4, 8, 16, 32))
        ]
        return run(maps).float().square().mean()

    ours = UPerHead(**options)
    run = compiled(ours, dynamic)
    compare(UPerHead(**options, fast=False), ours, run, loss, dynamic, amp)


def segmentors(blocks: bool) -> tuple[nn.Module, nn.Module]:
    """One that is plain, and one to compile, of few channels."""
    from mmseg.registry import MODELS

    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py').model
    config.backbone.update(arch=SMALL, drop_path_rate=0.4, layer_scale_init_value=0.5)
    config.backbone.pop('init_cfg', None)
    config.decode_head.update(in_channels=SMALL['channels'], channels=16, dropout_ratio=0.0)
    config.decode_head.norm_cfg = dict(type='BN', eps=0.1)
    plain = copy.deepcopy(config)
    plain.fast = plain.backbone.fast = plain.decode_head.fast = False
    config.backbone.compile_blocks = blocks
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(ConfigDict(plain)), MODELS.build(ConfigDict(config))


def of_labels(run: nn.Module, size: tuple[int, int]) -> Tensor:
    from mmseg.structures import SegDataSample

    x, samples = torch.randn(2, 3, *size), []
    for _ in range(2):
        labels = PixelData(data=torch.randint(0, 6, (1, *size)))
        samples.append(SegDataSample(metainfo=dict(img_shape=size), gt_sem_seg=labels))
    losses = run(x, samples, mode='loss')
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bf16'])
@pytest.mark.parametrize('dynamic', [False, True], ids=['fixed', 'dynamic'])
@pytest.mark.parametrize('blocks', [False, True], ids=['whole', 'blocks'])
def test_segmentor(blocks: bool, dynamic: bool, amp: bool) -> None:
    eager, ours = segmentors(blocks)
    run = ours if blocks else compiled(ours, dynamic)
    compare(eager, ours, run, of_labels, dynamic, amp)


@pytest.mark.parametrize('blocks', [False, True], ids=['whole', 'blocks'])
def test_detector(blocks: bool) -> None:
    """Its losses in training, at two sizes; of mmdet's parts torch compiles what it can."""
    from mmdet.registry import MODELS

    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py').model
    config.backbone.update(arch=SMALL, layer_scale_init_value=0.5)
    config.backbone.pop('init_cfg', None)
    plain = copy.deepcopy(config)
    plain.backbone.fast = False
    config.backbone.compile_blocks = blocks
    with DefaultScope.overwrite_default_scope('mmdet'):
        eager, ours = MODELS.build(plain).train(), MODELS.build(config).train()
    ours.load_state_dict(eager.state_dict())
    run = ours if blocks else compiled(ours, dynamic=True)
    for size in ((96, 128), (128, 96)):
        expected, found = (of_boxes(model, size) for model in (eager, run))
        found.backward()
        # A proposal more or less has a loss of its own.
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


def of_boxes(run: nn.Module, size: tuple[int, int]) -> Tensor:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    torch.manual_seed(0)
    x, samples = torch.randn(2, 3, *size), []
    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), size)
    for _ in range(2):
        corners = torch.rand(4, 2) * 40
        masks = (torch.rand(4, *size) > 0.5).numpy().astype('uint8')
        truth = InstanceData(
            bboxes=torch.cat([corners, corners + 10 + torch.rand(4, 2) * 40], 1),
            labels=torch.randint(0, 4, (4,)),
            masks=BitmapMasks(masks, *size),
        )
        samples.append(DetDataSample(metainfo=shapes, gt_instances=truth))
    losses = run(x, samples, mode='loss')
    values = [value for name, value in losses.items() if 'loss' in name]
    return sum(sum(value) if isinstance(value, list) else value for value in values)
