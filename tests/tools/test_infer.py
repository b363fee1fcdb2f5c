"""tools/infer.py in a process, as a person runs it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from tests.inference.conftest import DETECTION, SEGMENTATION, write_checkpoint


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    config = Config.fromfile(SEGMENTATION)
    return write_checkpoint(config, tmp_path_factory.mktemp('weights') / 'a.pth')


def test_a_broken_picture_is_listed_after_the_others_are_written(
    checkpoint, samples, run_tool, tmp_path
) -> None:
    """And the labels are those that tools/test.py writes."""
    pictures = tmp_path / 'pictures'
    shutil.copytree(samples / 'images' / 'validation', pictures)
    (pictures / 'broken.jpg').write_bytes(b'no image')
    command = ['tools/infer.py', SEGMENTATION, checkpoint, pictures]
    result = run_tool(*command, '--out', tmp_path / 'found', '--json')
    assert result.returncode == 1
    assert result.stderr.splitlines()[-2:] == [
        f'not read: {pictures / "broken.jpg"}: is not an image that OpenCV reads, or is cut short',
        'error: 1 of 5 not read; all others are written',
    ]
    told = json.loads(result.stdout)
    assert len(told['inputs']) == 4
    assert [one['input'] for one in told['not_read']] == [str(pictures / 'broken.jpg')]
    result = run_tool(
        *('tools/test.py', SEGMENTATION, checkpoint, '--work-dir', tmp_path / 'w'),
        *('--out', tmp_path / 'tested', '--cfg-options', f'data_root={samples}'),
    )
    assert result.returncode == 0, result.stderr
    tested = sorted((tmp_path / 'tested').glob('*.png'))
    assert len(tested) == 4
    for path in tested:
        ours, theirs = (
            cv2.imread(str(p), cv2.IMREAD_UNCHANGED)
            for p in (tmp_path / 'found' / 'labels' / path.name, path)
        )
        assert np.array_equal(ours, theirs)


def test_a_detector_prints_a_table_and_writes_predictions(run_tool, tmp_path) -> None:
    config = Config.fromfile(DETECTION)
    checkpoint = write_checkpoint(config, tmp_path / 'a.pth')
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((30, 40, 3), np.uint8))
    result = run_tool(
        *('tools/infer.py', DETECTION, checkpoint, tmp_path / '*.png'),
        *('--out', tmp_path / 'found', '--score-thr', 0.1, '--opacity', 0.7, '--device', 'cpu'),
    )
    assert result.returncode == 0, result.stderr
    assert 'instances' in result.stdout
    assert f'written: {tmp_path / "found"}' in result.stdout
    assert json.loads((tmp_path / 'found' / 'predictions.json').read_text())['images']
    assert cv2.imread(str(tmp_path / 'found' / 'pictures' / 'a.png')) is not None


def test_mistakes_get_one_line_before_anything_is_written(checkpoint, run_tool, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((30, 40, 3), np.uint8))
    result = run_tool(
        *('tools/infer.py', DETECTION, checkpoint, tmp_path / 'a.png', '--out', tmp_path / 'found')
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f'error: {checkpoint} does not fit the model: ')
    assert result.stdout == ''
    assert not (tmp_path / 'found').exists()
    result = run_tool(
        *('tools/infer.py', DETECTION, checkpoint, tmp_path / 'a.png'),
        *('--cfg-options', 'model.test_cfg.rpm=1', 'optim_wrapper.optimiser=1'),  # not used here
    )
    (line,) = result.stderr.splitlines()
    assert line.startswith('error: model.test_cfg.rpm: expected another name; did you mean rpn?')
    result = run_tool('tools/infer.py', DETECTION, checkpoint, 'a.png', '--opacity', 70)
    assert result.returncode == 2
    assert 'argument --opacity: expected a number from 0 to 1, got 70' in result.stderr
