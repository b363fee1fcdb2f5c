"""A rival's classifier gives its logits here, and ours gives its own there; augmentation is timm's.

Random weights; the bound is max|a - b| ≤ 1e-4 · max|b|.
"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import rivals
from mmconvnext.checkpoints.write import convert_checkpoint
from mmconvnext.classification import (
    EvaluationCrop,
    ImageClassifier,
    RandomResizedCrop,
    TimmRandAugment,
    TimmRandomErasing,
)
from mmconvnext.errors import ArgumentError
from tests.oracles.test_backbone_oracles import assert_close
from tests.oracles.test_weight_oracles import randomise, save_pretrained, save_state_dict

DEPTHS, CHANNELS = (1, 2, 3, 1), (16, 32, 64, 128)
SHAPES = {'depths': DEPTHS, 'channels': CHANNELS}
CLASSES = 7


def ours(file: Path | None, arch: str | dict = SHAPES, use_grn: bool = False) -> ImageClassifier:
    model = ImageClassifier(
        dict(type='mmconvnext.ConvNeXt', arch=arch, out_indices=(3,), use_grn=use_grn),
        num_classes=CLASSES,
        init_cfg=file and dict(type='Pretrained', checkpoint=str(file)),
    ).eval()
    if file:
        model.init_weights()
    return model


def logits(model: nn.Module, size: tuple[int, int] = (96, 128)) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        output = model(torch.randn(2, 3, *size))
    return output if torch.is_tensor(output) else output.logits


def assert_matches_both_ways(
    rival: nn.Module, family: str, file: Path, arch: str | dict = SHAPES, use_grn: bool = False
) -> None:
    assert_close(logits(ours(file, arch, use_grn)), logits(rival), 'logits')
    mine = randomise(ours(None, arch, use_grn))
    torch.save({'state_dict': mine.state_dict(), 'meta': {}}, file.parent / 'ours.pth')
    for to in ('official', family):
        convert_checkpoint(str(file.parent / 'ours.pth'), file.parent / f'{to}.pth', to=to)
    official = torch.load(file.parent / 'official.pth', weights_only=True)
    assert official.keys() == {key.removeprefix('backbone.') for key in mine.state_dict()}
    again = ours(file.parent / 'official.pth', arch, use_grn)
    assert_close(logits(again), logits(mine), 'logits of the official file')
    converted = torch.load(file.parent / f'{family}.pth', weights_only=True)
    rival.load_state_dict(converted, strict=True)
    assert_close(logits(rival), logits(mine), "the rival's logits")


@pytest.mark.parametrize('use_grn', [False, True], ids=['v1', 'v2'])
def test_matches_timm(use_grn: bool, tmp_path: Path) -> None:
    rival = randomise(rivals.timm(DEPTHS, CHANNELS, use_grn, num_classes=CLASSES))
    assert_matches_both_ways(rival, 'timm', save_state_dict(rival, tmp_path), use_grn=use_grn)


@pytest.mark.parametrize('name', ['convnext_atto', 'convnextv2_atto'])
def test_matches_timm_s_own_sizes(name: str, tmp_path: Path) -> None:
    import timm

    rival = randomise(timm.create_model(name, num_classes=CLASSES))
    assert_matches_both_ways(rival, 'timm', save_state_dict(rival, tmp_path), 'atto', 'v2' in name)


def test_matches_torchvision(tmp_path: Path) -> None:
    rival = randomise(rivals.torchvision(DEPTHS, CHANNELS, num_classes=CLASSES))
    assert_matches_both_ways(rival, 'torchvision', save_state_dict(rival, tmp_path))


@pytest.mark.parametrize('use_grn', [False, True], ids=['v1', 'v2'])
def test_matches_transformers(use_grn: bool, tmp_path: Path) -> None:
    kind = 'ForImageClassification'
    model = rivals.transformers(kind, DEPTHS, CHANNELS, use_grn, num_labels=CLASSES)
    rival = randomise(model)
    # Theirs is 1e-12, the papers' 1e-6.
    rival.base_model.layernorm.eps = 1e-6
    assert_matches_both_ways(rival, 'hf', save_pretrained(rival, tmp_path), use_grn=use_grn)


def test_matches_mmpretrain(tmp_path: Path) -> None:
    body = randomise(rivals.mmpretrain(DEPTHS, CHANNELS))
    head = randomise(nn.Linear(CHANNELS[3], CLASSES))
    state = {f'backbone.{key}': value for key, value in body.state_dict().items()}
    state |= {f'head.fc.{key}': value for key, value in head.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'rival.pth')
    torch.manual_seed(1)
    with torch.no_grad():
        expected = head(body(torch.randn(2, 3, 96, 128))[0])
    assert_close(logits(ours(tmp_path / 'rival.pth')), expected, 'logits')


def picture(height: int, width: int) -> np.ndarray:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    return np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize('shape', [(375, 500), (501, 333), (256, 256), (97, 410)])
def test_matches_torchvision_s_resize_and_centre_crop(shape: tuple[int, int]) -> None:
    from torchvision import transforms

    theirs = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
        ]
    )
    image = picture(*shape)
    found = EvaluationCrop(224).transform({'img': image})['img']
    assert np.array_equal(found, np.asarray(theirs(Image.fromarray(image))))


def test_matches_torchvision_s_random_resized_crop() -> None:
    """The same distribution of areas and ratios, an image's own limits included."""
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop as TheirCrop

    np.random.seed(0)
    torch.manual_seed(0)
    image, crop = torch.zeros(3, 300, 400), RandomResizedCrop(32)
    mine = np.array([crop._draw_box(300, 400) for _ in range(3000)])
    theirs = np.array([TheirCrop.get_params(image, crop.scale, crop.ratio) for _ in range(3000)])
    for measure in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0]):
        assert ks_2samp(measure(mine), measure(theirs)).pvalue > 0.01


def seed_all() -> None:
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)


def test_matches_timm_s_randaugment() -> None:
    from timm.data import create_transform

    image = picture(224, 224)
    theirs = create_transform(
        224, is_training=True, auto_augment='rand-m9-mstd0.5-inc1', interpolation='bicubic',
        separate=True,
    )[1]  # fmt: skip
    mine = TimmRandAugment()
    changed = 0
    for seed in range(5):
        outputs = []
        for augment in (
            lambda: np.asarray(theirs(Image.fromarray(image))),
            lambda: mine.transform({'img': image[..., ::-1]})['img'][..., ::-1],
        ):
            random.seed(seed)
            np.random.seed(seed)
            outputs.append(augment())
        assert np.array_equal(*outputs)
        changed += not np.array_equal(outputs[0], image)
    assert changed


def test_an_unknown_policy_gets_one_line() -> None:
    with pytest.raises(ArgumentError, match=r"a policy such as 'rand-m9-mstd0\.5-inc1'"):
        TimmRandAugment('best')


@pytest.mark.parametrize('mode', ['pixel', 'rand', 'const'])
def test_matches_timm_s_erasing_of_what_is_normalised(mode: str) -> None:
    from timm.data.random_erasing import RandomErasing

    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    normalise = ImgDataPreprocessor(mean, std, bgr_to_rgb=True)

    def tensor(image: np.ndarray) -> Tensor:
        return normalise({'inputs': [torch.from_numpy(image.transpose(2, 0, 1).copy())]})['inputs']

    image = np.ascontiguousarray(picture(64, 80)[..., ::-1])
    seed_all()
    found = tensor(TimmRandomErasing(1.0, mode).transform({'img': image})['img'])
    seed_all()
    expected = RandomErasing(1.0, mode=mode, device='cpu')(tensor(image)[0])
    erased = (expected != tensor(image)[0]).any(0)
    assert 0 < erased.float().mean() < 0.5
    # They draw for RGB, and here the image is BGR: the same noise in another order.
    expected[:, erased] = expected[:, erased].flip(0)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


def test_matches_timm_s_mixing() -> None:
    from timm.data import Mixup

    options = dict(mixup_alpha=0.8, cutmix_alpha=1.0)
    model = ours(None)
    model.mixing, model.label_smoothing = options, 0.1
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 6, 1])
    samples = [BaseDataElement(gt_label=label[None]) for label in labels]
    theirs = Mixup(**options, label_smoothing=0.1, num_classes=CLASSES)
    before = x.clone()
    for seed in range(4):
        np.random.seed(seed)
        found = model(x, samples, mode='loss')['loss']
        np.random.seed(seed)
        mixed, targets = theirs(x.clone(), labels)
        expected = -(targets * F.log_softmax(model(mixed), 1)).sum(1).mean()
        torch.testing.assert_close(found, expected)
        assert torch.equal(x, before)
