"""The same line from a training's start and from the whole check, one defect at a time."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmconvnext.command_line.overrides import override
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError
from mmconvnext.preflight import preflight, require_ready
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.pictures import check_pixel_formats
from mmconvnext.preflight.read_files import Facts
from tests.conftest import CONFIGS


@pytest.fixture
def root(samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(samples, tmp_path / 'set'))


@pytest.fixture
def config(root: Path) -> Config:
    loaded = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    override(loaded, {'data_root': str(root)})
    return loaded


def rewrite(root: Path, change: Callable[[np.ndarray], np.ndarray], folder: str = 'images') -> None:
    rewrite_as('.png', root, change, folder)


def rewrite_as(
    ending: str, root: Path, change: Callable[[np.ndarray], np.ndarray], folder: str = 'images'
) -> None:
    for path in root.glob(f'{folder}/*/*'):
        pixels = change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        path.with_suffix(ending).write_bytes(cv2.imencode(ending, pixels)[1])


def read_png(config: Config, ending: str = '.png') -> None:
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].dataset.img_suffix = ending


def test_good_data_are_ready(config: Config) -> None:
    assert require_ready(config) == []


def enlarge_first(root: Path) -> None:
    for folder, ending in (('images', 'jpg'), ('annotations', 'png')):
        path = str(root / folder / 'training' / f'training_0000.{ending}')
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        cv2.imwrite(path, cv2.resize(image, (200, 100), interpolation=cv2.INTER_NEAREST))


def reduce_first(root: Path) -> None:
    for folder, ending in (('images', 'jpg'), ('annotations', 'png')):
        path = str(root / folder / 'validation' / f'validation_0000.{ending}')
        cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED)[:20])


def softmax_of_one_channel(config: Config) -> None:
    config.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.5)


def weigh(config: Config, classes: int, **options: object) -> None:
    weights = [1.0] * classes
    config.model.decode_head.loss_decode = dict(
        type='CrossEntropyLoss', class_weight=weights, **options
    )


DEFECTS = {
    'sizes in a batch': (enlarge_first, None, r'of one size in a batch of 8, .* add a RandomCrop'),
    'small images': (reduce_first, None, r'expected 32 × 32 pixels or more .* got 64 × 20; add'),
    'one class': (None, lambda c: c.model.decode_head.update(num_classes=1), 'name the background'),
    'num_classes': (None, lambda c: c.model.decode_head.update(num_classes=9), 'got 9; set it'),
    'class_weight': (
        None,
        lambda c: weigh(c, 3),
        r'loss_decode\.class_weight: expected 6 .* got 3',
    ),
    'one channel': (None, softmax_of_one_channel, 'expected use_sigmoid=True for out_channels=1'),
}


@pytest.mark.parametrize('kind', DEFECTS)
def test_what_would_fail_is_one_line_before_the_run(kind: str, root: Path, config: Config) -> None:
    damage, configure, part = DEFECTS[kind]
    if damage:
        damage(root)
    if configure:
        configure(config)
    with pytest.raises(UserError, match=part) as caught:
        require_ready(config)
    for opened in (True, False):
        found = {f.kind: f for f in preflight(config, open_files=opened).findings.of('error')}
        assert found[kind].message == str(caught.value)


def test_sigmoid_of_one_channel_is_fine(config: Config) -> None:
    softmax_of_one_channel(config)
    config.model.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)
    config.train_dataloader.dataset.metainfo = config.val_dataloader.dataset.metainfo = dict(
        classes=('ground', 'thing')
    )
    config.model.auxiliary_head = None
    assert require_ready(config) == []
    weigh(config, 1, use_sigmoid=True)
    assert require_ready(config) == []


def test_weights_of_a_sigmoid_are_refused(config: Config) -> None:
    weigh(config, 6, use_sigmoid=True)
    with pytest.raises(UserError, match='expected none with use_sigmoid=True, got 6 weights'):
        require_ready(config)


@pytest.mark.parametrize(
    ('ending', 'change', 'part', 'level'),
    [
        ('.png', lambda rgb: rgb.astype(np.uint16) << 4, 'values are 0…15 of 255', 'error'),
        ('.tif', lambda rgb: rgb[..., 0].astype(np.int16) << 4, 'values are 0…15 of', 'error'),
        ('.tif', lambda rgb: np.float32(rgb[..., 0]), '32-bit floats or other', 'error'),
        ('.png', lambda rgb: rgb.astype(np.uint16) << 8, 'values are 0…2', 'warning'),
        ('.png', lambda rgb: np.dstack([rgb, rgb[..., 0]]), 'the model gets 3', 'warning'),
    ],
)
def test_pixel_formats_are_told(
    ending: str, change, part: str, level: str, root: Path, config: Config
) -> None:
    rewrite_as(ending, root, change)
    read_png(config, ending)
    if level == 'error':
        with pytest.raises(UserError, match=part):
            require_ready(config)
    else:
        notices = require_ready(config)
        assert [part in notice for notice in notices] == [True, True], notices
    for opened in (True, False):
        found = preflight(config, open_files=opened).findings
        assert [(f.level, f.split) for f in found.everywhere if part in f.message] == [
            (level, 'train'),
            (level, 'val'),
        ]


def test_a_pipeline_that_keeps_all_bits_is_left_alone(root: Path, config: Config) -> None:
    rewrite(root, lambda rgb: rgb.astype(np.uint16) << 4)
    read_png(config)
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset.pipeline[0].color_type = 'unchanged'
    assert require_ready(config) == []


def test_one_class_in_training_is_an_error(root: Path, config: Config) -> None:
    rewrite(root, np.ones_like, 'annotations')
    (finding,) = preflight(config).findings.of('error')
    assert 'found only background: there is nothing to tell apart' in finding.message


@pytest.mark.parametrize(
    ('ids', 'part'),
    [
        ((0, 10, 20, 30, 40, 50, 60), r'gaps; write 1 instead of 10, .*, 5 instead of 50, …, with'),
        ((0, 1, 2, 40), 'name all classes'),
    ],
)
def test_gaps_are_to_be_closed_if_each_class_has_an_id(ids, part: str, root, config) -> None:
    rewrite(root, lambda labels: np.array(ids, np.uint8)[labels.clip(0, len(ids) - 1)], 'annotat*')
    found = preflight(config).findings.of('error')
    assert re.search(part, next(f.message for f in found if f.kind == 'ids without class'))


def test_batch_norms_and_epochs_without_a_batch(config: Config) -> None:
    config.train_dataloader.batch_size = 1
    (finding,) = preflight(config, open_files=False).findings.of('error')
    assert finding.message.startswith('batch norm: expected 2 or more values per channel')
    config.model.decode_head.norm_cfg = dict(type='SyncBN')
    (finding,) = preflight(config, open_files=False).findings.of('warning')
    assert 'SyncBN on several GPUs' in finding.message
    config.train_cfg = dict(by_epoch=True, max_epochs=1)
    config.train_dataloader.update(
        batch_size=9, drop_last=True, sampler=dict(type='DefaultSampler')
    )
    (finding,) = preflight(config, open_files=False).findings.of('error')
    assert 'expected 9 images per process or more' in finding.message


def test_masks_are_not_evaluated_without_a_mask_head(tmp_path: Path) -> None:
    root = write_detection_samples(tmp_path / 'set', training=1, validation=1, size=64)
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    override(config, {'data_root': str(root)})
    assert require_ready(config) == []
    config.model.roi_head.mask_head = None
    with pytest.raises(UserError, match="expected 'bbox' for a model without a mask head"):
        require_ready(config)


@pytest.mark.parametrize('channels', range(1, 7))
def test_bands_beyond_colour_are_told(channels: int) -> None:
    findings = Findings()
    check_pixel_formats([Facts('a.tif', (4, 4), channels=channels)], findings)
    assert [f.offenders for f in findings.everywhere] == (
        [] if channels in (1, 3) else [[f'a.tif ({channels} channels)']]
    )
