"""One defect at a time in label maps, or in the config's entries about them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmconvnext.command_line.overrides import override
from mmconvnext.preflight import preflight
from mmconvnext.preflight.findings import Finding
from tests.conftest import CONFIGS

LABELS = 'annotations/training/training_0000.png'
PICTURE = 'images/training/training_0000.jpg'


@pytest.fixture
def root(samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(samples, tmp_path / 'set'))


@pytest.fixture
def check(root: Path) -> Callable[..., dict[str, Finding]]:
    def run(configure: Callable[[Config], object] | None = None) -> dict[str, Finding]:
        config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
        override(config, {'data_root': str(root)})
        if configure:
            configure(config)
        findings = preflight(config).findings.sorted()
        return {finding.kind: finding for finding in findings if finding.level != 'note'}

    return run


def write(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


def labels(root: Path) -> np.ndarray:
    return np.array(Image.open(root / LABELS))


def test_good_data_have_no_findings(check) -> None:
    assert check() == {}


def test_a_palette_and_a_wide_type_are_as_good(root: Path, check) -> None:
    """A palette may have any colours: the pipeline's pillow reads ids."""
    image = Image.open(root / LABELS)
    image.putpalette(range(256 * 3 % 256))
    image.save(root / LABELS)
    other = root / 'annotations/training/training_0001.png'
    write(other, np.array(Image.open(other)).astype(np.uint16))
    assert check() == {}


def missing(root: Path) -> None:
    (root / LABELS).unlink()


def cut_off(root: Path) -> None:
    content = (root / LABELS).read_bytes()
    (root / LABELS).write_bytes(content[: len(content) // 2])


def colours(root: Path) -> None:
    write(root / LABELS, labels(root), 'RGB')


def other_size(root: Path) -> None:
    write(root / LABELS, labels(root)[:32])


def sixteen_bits(root: Path) -> None:
    write(root / LABELS, labels(root).astype(np.uint16) + 256)


def beyond(root: Path) -> None:
    write(root / LABELS, np.full((64, 64), 7, np.uint8))


def broken_picture(root: Path) -> None:
    content = (root / PICTURE).read_bytes()
    (root / PICTURE).write_bytes(content[: len(content) // 2])


def turned(root: Path) -> None:
    image = Image.open(root / PICTURE)
    exif = image.getexif()
    exif[0x0112] = 3  # upside down
    image.save(root / PICTURE, exif=exif)


DEFECTS = {
    missing: ('label files', 'without label map'),
    cut_off: ('label files', 'truncated'),
    colours: ('label files', '3 channels: expected one'),
    other_size: ('sizes of labels', 'another size'),
    sixteen_bits: ('ids beyond 255', 'modulo 256'),
    beyond: ('ids without class', 'expected 1…6 or 255 (reduce_zero_label=True)'),
    broken_picture: ('unreadable images', 'incomplete'),
}


def test_images_that_exif_turns_without_a_trace(root: Path, check) -> None:
    turned(root)
    finding = check()['turned images']
    assert (finding.level, finding.count) == ('warning', 1)
    assert 'set color_type="color_ignore_orientation"' in finding.message

    def as_stored(config: Config) -> None:
        config.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'

    assert check(as_stored) == {}


def test_sizes_decide_whether_exif_applies(root: Path, check) -> None:
    """Labels of the stored pixels, or of the turned ones, agree with their image on loading."""
    for path, side in ((root / PICTURE, 6), (root / LABELS, 1)):
        image = Image.open(path).crop((0, 0, 64, 32))
        exif = image.getexif()
        exif[0x0112] = side
        image.save(path, exif=exif)
    assert check() == {}
    write(root / LABELS, labels(root).T)
    assert check() == {}
    write(root / LABELS, labels(root)[:, :20])
    assert 'another size' in check()['sizes of labels'].message


@pytest.mark.parametrize('defect', DEFECTS)
def test_names_the_file_and_the_defect(defect, root: Path, check) -> None:
    defect(root)
    kind, part = DEFECTS[defect]
    finding = check()[kind]
    assert (finding.level, finding.split, finding.count) == ('error', 'train', 1)
    assert 'training_0000' in finding.offenders[0]
    assert part in finding.message


def test_fractions_are_no_ids(root: Path, check) -> None:
    Image.fromarray(labels(root).astype(np.float32) + 0.5).save(root / 'a.tiff')
    (root / 'a.tiff').rename(root / LABELS)
    assert 'fractions' in check()['label files'].message


def rewrite(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in root.rglob('*.png'):
        write(path, change(np.array(Image.open(path))).astype(np.uint8))


def without_reduction(config: Config) -> None:
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        dataset.reduce_zero_label = dataset.pipeline[1].reduce_zero_label = False


def test_0_and_255_are_explained(root: Path, check) -> None:
    rewrite(root, lambda pixels: np.where(pixels > 1, 255, 0))
    assert 'write 1 instead of 255' in check(without_reduction)['0 and 255'].message


def test_ids_that_want_reduce_zero_label(check) -> None:
    found = check(without_reduction)
    assert found['ids without class'].level == 'error'
    assert 'if 0 means unlabelled, set reduce_zero_label=True' in found['ids without class'].message


def test_ids_that_want_no_reduce_zero_label(root: Path, check) -> None:
    rewrite(root, lambda pixels: np.maximum(pixels, 1) - 1)
    found = check()
    assert found['reduce_zero_label'].level == 'warning'
    assert found['classes that never occur'].offenders == ['ring']


def test_data_set_and_pipeline_agree_on_reduce_zero_label(check) -> None:
    def configure(config: Config) -> None:
        config.train_dataloader.dataset.reduce_zero_label = False

    finding = check(configure)['reduce_zero_label']
    assert (finding.level, finding.split) == ('error', 'train')


def test_one_label_is_ignored_by_all(check) -> None:
    def configure(config: Config) -> None:
        config.model.decode_head.ignore_index = 254

    assert 'model.decode_head.ignore_index = 254' in check(configure)['ignore_index'].message


def test_labels_of_no_picture_and_nothing_labelled(root: Path, check) -> None:
    shutil.copy(root / LABELS, root / 'annotations/training/other.png')
    write(root / LABELS, np.zeros((64, 64), np.uint8))
    found = check()
    assert found['labels without image'].offenders[0].endswith('other.png')
    assert 'training_0000' in found['nothing labelled'].offenders[0]


def test_an_ending_that_no_picture_has(check) -> None:
    def configure(config: Config) -> None:
        config.train_dataloader.dataset.img_suffix = '.tif'

    assert 'no *.tif in ' in check(configure)['no images'].message


def test_nothing_labelled_is_an_error_if_it_is_everything(root: Path, check) -> None:
    write(root / LABELS, np.zeros((64, 64), np.uint8))
    assert check()['nothing labelled'].level == 'warning'
    for path in (root / LABELS).parent.iterdir():
        write(path, np.zeros((64, 64), np.uint8))
    assert check()['nothing labelled'].level == 'error'


def test_a_broken_link_is_named_and_a_hidden_file_is_not(root: Path, check) -> None:
    (root / PICTURE).unlink()
    (root / PICTURE).symlink_to('nowhere.jpg')
    (root / LABELS).with_name('._a.png').touch()
    found = check()
    assert found['broken links'].offenders == [str(root / PICTURE)]
    assert 'labels without image' not in found
