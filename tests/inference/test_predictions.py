import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mmconvnext.drawing.instances import Instances
from mmconvnext.errors import UserError
from mmconvnext.inference.predictions import PredictionFile, categories

MASK = np.zeros((1, 40, 60), bool)
MASK[0, 10:20, 30:50] = True
FOUND = Instances(np.array([[30.0, 10, 50, 20]]), np.array([1]), np.array([0.75]), MASK)
NOTHING = Instances(np.empty((0, 4)), np.empty(0, int), np.empty(0))


def write(path: Path) -> Path:
    with PredictionFile(path, [(7, 'cat'), (9, 'dog')]) as file:
        file.add((40, 60), NOTHING, {'file_name': 'a.jpg'})
        file.add((40, 60), FOUND, {'file_name': 'b.jpg'})
        file.add((40, 60), FOUND._replace(masks=None), {'file_name': 'c.mp4', 'frame': 3})
        assert not path.exists(), 'whole or not there'
    return path


def test_the_file_is_a_coco_data_set_with_scores(tmp_path, capsys) -> None:
    coco = COCO(write(tmp_path / 'p.json'))
    assert coco.loadCats([7, 9]) == [{'id': 7, 'name': 'cat'}, {'id': 9, 'name': 'dog'}]
    images = coco.loadImgs([1, 2, 3])
    assert images[0] == {'id': 1, 'file_name': 'a.jpg', 'height': 40, 'width': 60}
    assert images[2]['frame'] == 3
    assert coco.getAnnIds(imgIds=[1]) == []
    (one,) = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert one['category_id'] == 9
    assert one['bbox'] == [30, 10, 20, 10]
    assert one['score'] == 0.75
    assert one['area'] == 200
    assert (mask_api.decode(one['segmentation']).astype(bool) == MASK[0]).all()
    (other,) = coco.loadAnns(coco.getAnnIds(imgIds=[3]))
    assert 'segmentation' not in other
    capsys.readouterr()


def test_its_annotations_are_coco_s_results(tmp_path, capsys) -> None:
    """Scored against themselves they are perfect."""
    path = write(tmp_path / 'p.json')
    results = json.loads(path.read_text())['annotations']
    loaded = COCO(path).loadRes(results)
    assert len(loaded.getAnnIds()) == 2
    capsys.readouterr()


def test_nothing_is_left_after_an_error(tmp_path) -> None:
    def break_off() -> None:
        with PredictionFile(tmp_path / 'p.json', [(1, 'a'), (2, 'b')]) as file:
            file.add((40, 60), FOUND, {})
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match='could not be written'):
        PredictionFile(tmp_path / 'none' / 'p.json', [])


def test_an_interrupt_keeps_what_was_found(tmp_path) -> None:
    def interrupt() -> None:
        with PredictionFile(tmp_path / 'p.json', [(1, 'a')]) as file:
            file.add((40, 60), FOUND._replace(ids=np.array([0])), {'file_name': 'a.jpg'})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    content = json.loads((tmp_path / 'p.json').read_text())
    assert len(content['annotations']) == len(content['images']) == 1


def test_categories_have_the_data_set_s_ids_where_it_has_all_of_them(tmp_path) -> None:
    path = tmp_path / 'a.json'
    listed = [{'id': 4, 'name': 'dog'}, {'id': 90, 'name': 'cat'}, {'id': 2, 'name': 'cow'}]
    path.write_text(json.dumps({'categories': listed}))
    assert categories(['cat', 'dog'], path) == [(90, 'cat'), (4, 'dog')]
    numbered = [(1, 'cat'), (2, 'horse')]
    assert categories(['cat', 'horse'], path) == numbered
    assert categories(['cat', 'horse'], None) == numbered
    assert categories(['cat', 'horse'], tmp_path / 'none.json') == numbered
    path.write_text('no json')
    assert categories(['cat', 'horse'], path) == numbered
