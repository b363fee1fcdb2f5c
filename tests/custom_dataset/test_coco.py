import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmconvnext.custom_dataset.coco import read_own_coco
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError

TRAIN = 'annotations/instances_train2017.json'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_detection_samples(tmp_path / 'set', training=3, validation=2, size=64)


def read(root: Path, change: Callable[[dict], object] | None = None):
    if change:
        content = json.loads((root / TRAIN).read_text())
        change(content)
        (root / TRAIN).write_text(json.dumps(content))
    val = root / 'annotations/instances_val2017.json'
    return read_own_coco(*map(str, (root / TRAIN, root / 'train2017', val, root / 'val2017')))


def test_reads_what_both_files_have(root: Path) -> None:
    own = read(root, lambda c: c['images'].append(dict(c['images'][0], id=9, file_name='a.jpg')))
    assert own.classes == ('circle', 'square', 'triangle', 'ring')
    assert own.has_masks
    assert (own.annotated, own.training, own.validation) == (3, 4, 2)


@pytest.mark.parametrize(
    ('change', 'part'),
    [
        (lambda c: c['categories'].reverse(), 'expected the categories of'),
        (lambda c: c['annotations'].clear(), 'expected annotations, got an empty list'),
        (lambda c: c['annotations'][0].pop('segmentation'), 'in every annotation or in none'),
        (lambda c: [i.update(file_name='x.jpg') for i in c['images']], 'such as x.jpg'),
        (lambda c: [i.pop('width') for i in c['images']], 'id 1 lacks width'),
    ],
)
def test_what_does_not_suit_is_one_line(change, part: str, root: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(root, change)
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)
