import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmconvnext.classification import EvaluationCrop, PackImage, RandomResizedCrop
from mmconvnext.errors import ArgumentError


def picture(height: int, width: int) -> dict:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return {'img': image, 'img_path': 'a.jpg', 'ori_shape': (height, width)}


@pytest.mark.parametrize(
    ('size', 'height', 'width', 'resized', 'corner'),
    [
        # int(224 / .875) = 256; int(256 · 500 / 375) = 341; round((341 - 224) / 2) = round(58.5)
        (224, 375, 500, (256, 341), (16, 58)),
        (224, 500, 375, (341, 256), (58, 16)),
        (224, 256, 256, (256, 256), (16, 16)),
        (160, 100, 333, (182, 606), (11, 223)),  # int(182.86); enlarged as well
    ],
)
def test_matches_pillow_s_resize_and_a_central_cut(size, height, width, resized, corner) -> None:
    results = picture(height, width)
    whole = Image.fromarray(results['img']).resize(resized[::-1], Image.Resampling.BICUBIC)
    top, left = corner
    expected = np.asarray(whole)[top : top + size, left : left + size]
    found = EvaluationCrop(size).transform(results)
    assert found['img_shape'] == (size, size)
    assert np.array_equal(found['img'], expected)


@pytest.mark.parametrize('size', [384, 512])
def test_large_ones_are_warped_without_a_cut(size: int) -> None:
    results = picture(60, 90)
    expected = Image.fromarray(results['img']).resize((size, size), Image.Resampling.BICUBIC)
    assert np.array_equal(EvaluationCrop(size).transform(results)['img'], np.asarray(expected))


def test_random_crops_are_within_their_ranges() -> None:
    np.random.seed(0)
    crop = RandomResizedCrop(32)
    boxes = np.array([crop._draw_box(300, 400) for _ in range(1000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= 300).all()
    assert (left + width <= 400).all()
    shares, ratios = height * width / 120_000, width / height
    assert shares.min() > 0.079
    assert ratios.min() > 0.74
    assert ratios.max() < 1.35
    assert crop.transform(picture(300, 400))['img'].shape == (32, 32, 3)


def test_shares_are_uniform_where_all_fit() -> None:
    np.random.seed(0)
    crop = RandomResizedCrop(32, ratio=(1.0, 1.0))
    sides = np.array([crop._draw_box(400, 400)[2] for _ in range(2000)])
    quartiles = np.quantile(sides**2 / 400**2, (0.25, 0.5, 0.75))
    assert quartiles == pytest.approx((0.31, 0.54, 0.77), abs=0.03)


def test_of_a_thin_picture_the_centre() -> None:
    assert RandomResizedCrop(32)._draw_box(10, 400) == (0, 193, 10, 13)
    assert RandomResizedCrop(32)._draw_box(400, 10) == (193, 0, 13, 10)


def test_a_random_crop_of_everything_is_a_resize() -> None:
    results = picture(50, 50)
    crop = RandomResizedCrop(20, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    expected = Image.fromarray(results['img']).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(crop.transform(results)['img'], np.asarray(expected))


def test_packing() -> None:
    results = {**picture(4, 6), 'gt_label': 3, 'sample_idx': 7}
    packed = PackImage().transform(results)
    assert packed['inputs'].shape == (3, 4, 6)
    assert packed['inputs'].dtype == torch.uint8
    assert np.array_equal(packed['inputs'][0], results['img'][..., 0])
    assert packed['data_samples'].gt_label.tolist() == [3]
    assert packed['data_samples'].img_path == 'a.jpg'
    assert packed['data_samples'].sample_idx == 7


def test_a_whole_pipeline_builds_from_mmengine_s_registry() -> None:
    built = TRANSFORMS.build(dict(type='mmconvnext.EvaluationCrop', size=32))
    assert isinstance(built, EvaluationCrop)


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (EvaluationCrop, dict(size=0), 'size: expected a side in pixels, got 0'),
        (EvaluationCrop, dict(size=(2, 2)), 'size: expected a side in pixels'),
        (RandomResizedCrop, dict(scale=(1.0, 0.5)), 'scale: expected 0 < low'),
    ],
)
def test_impossible_arguments(kind, options: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kind(**options)
