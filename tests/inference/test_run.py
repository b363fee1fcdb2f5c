import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmconvnext.errors import UserError
from mmconvnext.inference.inputs import find_inputs
from mmconvnext.inference.model import Predictor
from mmconvnext.inference.results import SegmentationResults, open_results
from mmconvnext.inference.run import run
from mmconvnext.inference.summary import summary, table
from mmconvnext.inference.video import VideoWriter
from tests.inference.conftest import DETECTION, SEGMENTATION


@pytest.fixture(scope='module')
def inputs(tmp_path_factory) -> Path:
    """A folder of images, one in a folder below, one broken; two videos, one broken."""
    folder = tmp_path_factory.mktemp('inputs')
    noise = np.random.default_rng(0)
    for name, shape in (('a.png', (64, 80, 3)), ('below/a.png', (30, 40, 3))):
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), noise.integers(0, 255, shape, np.uint8))
    (folder / 'broken.jpg').write_bytes(b'no image')
    (folder / 'broken.mp4').write_bytes(b'no video')
    with VideoWriter(folder / 'film', 5.0) as writer:
        for _ in range(3):
            writer.write(noise.integers(0, 255, (64, 64, 3), np.uint8))
    return folder


def infer(predictor: Predictor, config: Path, inputs: Path, out: Path):
    found = find_inputs([str(inputs), str(inputs / 'film.mp4'), str(inputs / 'broken.mp4')])
    advanced = []
    with open_results(predictor, Config.fromfile(config), out, 0.3, 0.5) as results:
        outcomes, unreadable = run(
            predictor, found, results, out, lambda source, number: advanced.append(source.name)
        )
    assert [str(name) for name in advanced] == [
        *('a', 'broken.jpg', 'below/a', 'film', 'film', 'film', 'broken.mp4'),
    ]
    assert [one.path.name for one in unreadable] == ['broken.jpg', 'broken.mp4']
    assert not any(str(inputs) in one.reason for one in unreadable), 'the path stands before it'
    told = summary(outcomes, unreadable, results, out, 'x.pth')
    assert json.loads(json.dumps(told)) == told
    return told, table(outcomes, results)


def test_a_segmentor_s_results(segmentor, inputs, tmp_path) -> None:
    told, shown = infer(segmentor, SEGMENTATION, inputs, tmp_path)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()}
    assert files == {
        *('pictures/a.png', 'pictures/below/a.png', 'pictures/film.mp4'),
        *('labels/a.png', 'labels/below/a.png'),
        *(f'labels/film.frames/00000{i}.png' for i in range(3)),
    }
    assert [one['frames'] for one in told['inputs']] == [1, 1, 3]
    assert told['predictions'] is None
    for one in told['inputs']:
        assert sum(one['classes'].values()) == pytest.approx(1, abs=1e-5)
        assert all(Path(file).exists() for file in one['files'].values())
    labels = cv2.imread(str(tmp_path / 'labels' / 'a.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (64, 80)
    names = segmentor.classes.names
    shares = {names[i - 1]: (labels == i).mean() for i in np.unique(labels)}
    assert told['inputs'][0]['classes'] == pytest.approx(shares, abs=1e-5)
    assert shown.row_count == 3


def test_a_detector_s_results(detector, inputs, tmp_path) -> None:
    told, shown = infer(detector, DETECTION, inputs, tmp_path)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()}
    assert files == {
        *('predictions.json', 'pictures/a.png', 'pictures/below/a.png', 'pictures/film.mp4'),
    }
    written = json.loads(Path(told['predictions']).read_text())
    assert [image.get('frame') for image in written['images']] == [None, None, 0, 1, 2]
    assert [image['file_name'] for image in written['images'][:3]] == [
        *('a.png', 'below/a.png', 'film.mp4'),
    ]
    counted = sum(sum(one['instances'].values()) for one in told['inputs'])
    assert counted == len(written['annotations']) > 0
    assert all(one['score'] >= 0.3 for one in written['annotations'])
    assert shown.row_count == 3


def test_a_full_disk_ends_the_run_and_leaves_no_half_video(
    segmentor, inputs, tmp_path, monkeypatch
) -> None:
    def full(*_) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.write_bytes', full)
    found = find_inputs([str(inputs / 'film.mp4')])
    results = SegmentationResults(tmp_path, segmentor.classes, 1, 0.5)
    with pytest.raises(UserError, match=r'000000\.png: could not be written \(No space left'):
        run(segmentor, found, results, tmp_path)
    assert not any(p.is_file() for p in tmp_path.rglob('*'))
