import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor

from mmconvnext.detection import MaskTTAModel
from mmconvnext.errors import ArgumentError
from tests.conftest import CONFIGS

HEIGHT, WIDTH = 64, 96
KINDS = ('mask_rcnn', 'cascade_mask_rcnn')


def build(config: Config) -> torch.nn.Module:
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config)


@pytest.fixture(params=KINDS)
def detector(request) -> torch.nn.Module:
    """Random, so that it finds some of everything everywhere."""
    config = Config.fromfile(CONFIGS / f'{request.param}_convnext_atto_samples.py').model
    config.test_cfg.rcnn.score_thr = 0.1
    return build(config).eval()


def view(picture: Tensor, scale: int = 1, direction: str | None = None) -> dict:
    """One image, (3, H, W), as an augmentation hands it over."""
    height, width = picture.shape[1:]
    shown = picture.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    dims = {None: (), 'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}[direction]
    sample = DetDataSample(
        metainfo=dict(
            img_id=1,
            img_shape=(scale * height, scale * width),
            ori_shape=(height, width),
            scale_factor=(float(scale), float(scale)),
            flip=direction is not None,
            flip_direction=direction,
        )
    )
    return dict(inputs=shown.flip(dims), data_samples=sample)


def batch_of(views: list[dict]) -> dict:
    return {key: [[entry[key]] for entry in views] for key in views[0]}


def plain(detector: torch.nn.Module, picture: Tensor) -> InstanceData:
    with torch.no_grad():
        data = {key: [value] for key, value in view(picture).items()}
        return detector.test_step(data)[0].pred_instances


def augmented(detector: torch.nn.Module, views: list[dict]) -> InstanceData:
    return MaskTTAModel(detector).test_step(batch_of(views))[0].pred_instances


def picture() -> Tensor:
    return torch.randint(0, 255, (3, HEIGHT, WIDTH), dtype=torch.uint8)


def assert_same(found: InstanceData, expected: InstanceData) -> None:
    """The same instances, whatever the order of equal scores."""
    assert len(found) == len(expected) > 5
    remaining = list(range(len(expected)))
    for number in range(len(found)):
        distance = (expected.bboxes[remaining] - found.bboxes[number]).abs().amax(1)
        distance = distance + 1e3 * (expected.labels[remaining] != found.labels[number])
        nearest = int(distance.argmin())
        assert distance[nearest] < 1e-2
        match = remaining.pop(nearest)
        torch.testing.assert_close(found.scores[number], expected.scores[match])
        different = found.masks[number] ^ expected.masks[match]
        assert different.float().mean() < 1e-3


@pytest.mark.parametrize('nms', ['nms', 'soft_nms'])
def test_identity_alone_equals_the_plain_result(detector: torch.nn.Module, nms: str) -> None:
    detector.roi_head.test_cfg.nms.type = nms
    image = picture()
    assert_same(augmented(detector, [view(image)]), plain(detector, image))


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_a_mirrored_picture_gives_the_mirrored_result(
    detector: torch.nn.Module, direction: str
) -> None:
    image = picture()
    dims = {'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}[direction]
    upright = augmented(detector, [view(image), view(image, direction=direction)])
    mirrored = image.flip(dims)
    found = augmented(detector, [view(mirrored), view(mirrored, direction=direction)])
    for axis, size in ((2, WIDTH), (1, HEIGHT)):
        if axis in dims:
            edges = (0, 2) if axis == 2 else (1, 3)
            found.bboxes[:, edges] = size - found.bboxes[:, edges[::-1]]
    found.masks = found.masks.flip(dims)
    assert_same(found, upright)


def test_several_scales_in_the_picture_s_own_pixels(detector: torch.nn.Module) -> None:
    found = augmented(detector, [view(picture(), scale) for scale in (1, 2)])
    assert found.masks.shape == (len(found), HEIGHT, WIDTH)
    assert found.masks.dtype == torch.bool
    assert (found.bboxes[:, 2] <= WIDTH + 1e-3).all()
    assert (found.bboxes[:, 3] <= HEIGHT + 1e-3).all()


def test_pictures_of_a_batch_keep_apart(detector: torch.nn.Module) -> None:
    images = [picture(), picture()]
    data = {
        key: [[view(image, scale)[key] for image in images] for scale in (1, 2)]
        for key in ('inputs', 'data_samples')
    }
    together = MaskTTAModel(detector).test_step(data)
    for sample, image in zip(together, images):
        alone = augmented(detector, [view(image, scale) for scale in (1, 2)])
        assert_same(sample.pred_instances, alone)


def test_nothing_found(detector: torch.nn.Module) -> None:
    detector.roi_head.test_cfg.score_thr = 1.0
    found = augmented(detector, [view(picture()), view(picture(), direction='horizontal')])
    assert len(found) == 0
    assert found.masks.shape == (0, HEIGHT, WIDTH)


def test_a_detector_without_masks() -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py').model
    config.type = 'FasterRCNN'
    config.neck.in_channels = [40, 80, 160, 320]
    config.roi_head.mask_head = config.roi_head.mask_roi_extractor = None
    config.test_cfg.rcnn.score_thr = 0.1
    found = augmented(build(config).eval(), [view(picture(), direction='horizontal')])
    assert 'masks' not in found
    assert len(found) > 5


class OneStage(BaseModel):
    def forward(self, *args, **kwargs) -> None: ...


def test_another_kind_of_detector_is_refused() -> None:
    with pytest.raises(ArgumentError, match='expected a two-stage detector'):
        MaskTTAModel(OneStage())
