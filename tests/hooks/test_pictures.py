from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dataset import Compose
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmconvnext import DetectionPictureHook, SegmentationPictureHook
from mmconvnext.drawing.samples import detections, ground_truth
from mmconvnext.registry import HOOKS

BOX = [60.0, 80, 160, 180]
POLYGON = np.array([60.0, 80, 160, 80, 160, 180, 60, 180])


def sample_of(path='', *, truth: bool = True, masks: bool = True) -> DetDataSample:
    """One true 'a' and, of 300 × 400 pixels, a found 'a' of .9 and a found 'b' of .2."""
    sample = DetDataSample(metainfo=dict(img_path=str(path), scale_factor=(2.0, 2.0)))
    sample.gt_instances = InstanceData()
    if truth:
        sample.gt_instances.bboxes = HorizontalBoxes(torch.tensor([BOX]))
        sample.gt_instances.labels = torch.tensor([0])
        if masks:
            sample.gt_instances.masks = PolygonMasks([[POLYGON]], 300, 400)
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([BOX, [200.0, 200, 300, 280]]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.2]),
    )
    if masks:
        sample.pred_instances.masks = torch.zeros(2, 300, 400, dtype=torch.bool)
        sample.pred_instances.masks[0, 80:180, 60:160] = True
    return sample


def runner_of(tmp_path, **metainfo) -> SimpleNamespace:
    meta = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)]) | metainfo
    dataset = SimpleNamespace(metainfo=meta)
    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset), log_dir=tmp_path)


@pytest.fixture
def picture(tmp_path) -> str:
    path = tmp_path / 'street.jpg'
    cv2.imwrite(str(path), np.zeros((300, 400, 3), np.uint8))
    return str(path)


def written(tmp_path) -> np.ndarray:
    return cv2.imread(str(tmp_path / 'pictures' / 'street.png'))


def test_writes_the_picture_the_truth_and_what_was_found(tmp_path, picture) -> None:
    hook = HOOKS.build(dict(type='mmconvnext.DetectionPictureHook', draw=True))
    hook.after_test_iter(runner_of(tmp_path), 0, outputs=[sample_of(picture)])
    drawn = written(tmp_path)
    assert drawn.shape == (24 + 300 + 24, 3 * 400 + 2 * 8, 3)
    image, truth, found = (drawn[24:324, x : x + 400] for x in (0, 408, 816))
    assert not image.any()
    for panel in (truth, found):
        assert panel[130, 110].tolist() == [0, 0, 128]
        assert panel[130, 60].tolist() == [0, 0, 255]
        assert not panel[190:, 190:].any(), 'a score of .2 is below the threshold'
    assert (truth != found).any(), 'the score stands at what was found alone'
    legend = drawn[-24:]
    assert (legend == (0, 0, 255)).all(2).any()
    assert not (legend == (255, 0, 0)).all(2).any(), 'a class that does not occur'


def test_without_truth_its_panel_is_left_out(tmp_path, picture) -> None:
    hook = DetectionPictureHook(draw=True, score_thr=0.1)
    hook.after_test_iter(runner_of(tmp_path), 0, outputs=[sample_of(picture, truth=False)])
    drawn = written(tmp_path)
    assert drawn.shape == (24 + 300 + 24, 2 * 400 + 8, 3)
    assert (drawn[24:324] == (255, 0, 0)).all(2).any(), 'a score of .2 is above the threshold'


def test_without_masks(tmp_path, picture) -> None:
    hook = DetectionPictureHook(draw=True)
    hook.after_test_iter(runner_of(tmp_path), 0, outputs=[sample_of(picture, masks=False)])
    truth = written(tmp_path)[24:324, 408:808]
    assert truth[130, 60].tolist() == [0, 0, 255]
    assert not truth[130, 110].any()


def test_nothing_true_and_nothing_found(tmp_path, picture) -> None:
    sample = sample_of(picture)
    sample.gt_instances = sample.gt_instances[:0]
    sample.pred_instances = sample.pred_instances[:0]
    DetectionPictureHook(draw=True).after_test_iter(runner_of(tmp_path), 0, outputs=[sample])
    drawn = written(tmp_path)
    assert drawn.shape == (24 + 300, 3 * 400 + 2 * 8, 3), 'no legend'
    assert not drawn[24:, 408:808].any()


def test_draws_on_demand_only(tmp_path, picture) -> None:
    runner, sample = runner_of(tmp_path), sample_of(picture)
    DetectionPictureHook().after_test_iter(runner, 0, outputs=[sample])
    hook = DetectionPictureHook(draw=True, interval=2, out_dir=str(tmp_path / 'other'))
    hook.after_test_iter(runner, 0, outputs=[sample])
    assert not (tmp_path / 'pictures').exists()
    assert not (tmp_path / 'other').exists()
    hook.after_test_iter(runner, 1, outputs=[sample])
    assert [path.name for path in (tmp_path / 'other').iterdir()] == ['street.png']


@pytest.mark.parametrize(
    ('height', 'width', 'expected'),
    [(30, 40, (24 + 270 + 24, 3 * 360 + 16)), (1500, 2000, (59 + 1500 + 59, 3 * 2000 + 40))],
)
def test_small_and_large_pictures(tmp_path, height: int, width: int, expected) -> None:
    """Small ones are enlarged 9 times; text and gaps of large ones 3,000,000 ** .5 / 700 times."""
    path = tmp_path / 'street.png'
    cv2.imwrite(str(path), np.zeros((height, width), np.uint8))  # grey
    sample = sample_of(path, truth=True, masks=False)
    for instances in (sample.gt_instances, sample.pred_instances):
        instances.bboxes = torch.tensor([[5.0, 5, 25, 25]]).repeat(len(instances), 1)
    # A class without a colour and one without a name either.
    sample.pred_instances.labels = torch.tensor([1, 5])
    runner = runner_of(tmp_path, palette=[(255, 0, 0)])
    DetectionPictureHook(draw=True, score_thr=0.1).after_test_iter(runner, 0, outputs=[sample])
    assert written(tmp_path).shape == (*expected, 3)


def scaled(sample: DetDataSample, *, padding: int = 0) -> DetDataSample:
    """As annotated before a resize to twice the size, the masks padded."""
    true = sample.gt_instances
    true.bboxes = HorizontalBoxes(torch.tensor([BOX]) * 2)
    if 'masks' in true:
        masks = true.masks.resize((600, 800)).to_ndarray()
        masks = np.pad(masks, ((0, 0), (0, padding), (0, padding)))
        true.masks = BitmapMasks(masks, 600 + padding, 800 + padding)
    return sample


class LoadAnnotations:
    def __call__(self, results: dict) -> dict:
        return results


class Resize(LoadAnnotations):
    pass


@pytest.mark.parametrize('padding', [0, 32])
def test_truth_of_the_test_scale_is_known_by_its_masks(padding: int) -> None:
    expected = ground_truth(sample_of(), (300, 400), None)
    assert expected.boxes.tolist() == [BOX]
    assert expected.masks.sum() > 0
    found = ground_truth(scaled(sample_of(), padding=padding), (300, 400), None)
    assert found.boxes.tolist() == [BOX]
    np.testing.assert_array_equal(found.masks, expected.masks)


@pytest.mark.parametrize(
    ('steps', 'expected'),
    [
        ([LoadAnnotations, Resize], BOX),
        ([Resize, LoadAnnotations], [2 * side for side in BOX]),
        ([Resize], [2 * side for side in BOX]),
    ],
)
def test_truth_of_the_test_scale_is_known_by_the_pipeline(steps, expected) -> None:
    dataset = SimpleNamespace(pipeline=Compose([step() for step in steps]))
    found = ground_truth(scaled(sample_of(masks=False)), (300, 400), dataset)
    assert found.boxes.tolist() == [expected]
    assert found.masks is None


def test_detections_at_the_threshold_are_kept() -> None:
    sample = sample_of()
    sample.pred_instances.scores = torch.tensor([0.5, 0.4999])
    found = detections(sample, 0.5)
    assert found.boxes.tolist() == [BOX]
    assert found.masks.shape == (1, 300, 400)


@pytest.mark.parametrize('dtype', [torch.long, torch.float32])  # one channel gives floats
def test_a_segmentor_s_pictures_are_written_one_a_sample(tmp_path, dtype: torch.dtype) -> None:
    path = tmp_path / 'street.jpg'
    cv2.imwrite(str(path), np.zeros((256, 300, 3), np.uint8))
    sample = SegDataSample(metainfo=dict(img_path=str(path)))
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 256, 300, dtype=dtype))
    runner = runner_of(tmp_path)
    SegmentationPictureHook().after_test_iter(runner, 0, outputs=[sample])
    assert not (tmp_path / 'pictures').exists(), 'draw is off by default'
    SegmentationPictureHook(draw=True, interval=2).after_test_iter(runner, 0, outputs=[sample])
    assert not (tmp_path / 'pictures').exists()
    SegmentationPictureHook(draw=True).after_test_iter(runner, 0, outputs=[sample])
    written = cv2.imread(str(tmp_path / 'pictures' / 'street.png'))
    assert written.shape == (24 + 256 + 24, 2 * 300 + 8, 3)
