"""tools/custom_dataset.py as a person runs it, and what it writes trained."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mmconvnext.data.detection_samples import write_detection_samples
from tests.conftest import ROOT

TOOL = ROOT / 'tools' / 'custom_dataset.py'
TRAIN = ROOT / 'tools' / 'train.py'


def test_own_coco_trains(run_tool, tmp_path: Path) -> None:
    """Three classes of our own, in a cascade, whose heads are a list."""
    root = write_detection_samples(tmp_path / 'set', training=4, validation=1, size=64)
    for file in (root / 'annotations').iterdir():
        content = json.loads(file.read_text())
        content['categories'] = [
            dict(id=id_, name=name) for id_, name in ((1, 'rond'), (3, "d'or"), (7, '猫'))
        ]
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] != 4]
        file.write_text(json.dumps(content))
    result = run_tool(
        *(TOOL, ROOT / 'configs/cascade_mask_rcnn_convnext_atto_samples.py', 'mine.py'),
        *('--train-ann', 'set/annotations/instances_train2017.json'),
        *('--train-images', 'set/train2017', '--val-images', 'set/val2017'),
        *('--val-ann', 'set/annotations/instances_val2017.json'),
        *('--batch-size', 2, '--epochs', 1),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].strip() == 'python tools/train.py mine.py'
    result = run_tool(TRAIN, 'mine.py', '--work-dir', 'run', cwd=tmp_path, OMP_NUM_THREADS='1')
    assert result.returncode == 0, result.stderr[-2000:]
    output = result.stdout + result.stderr
    assert 'Epoch(train) [1][2/2]' in ' '.join(output.split())
    assert 'coco/bbox_mAP' in output
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()


def test_own_labels_train(samples: Path, run_tool, tmp_path: Path) -> None:
    """Four classes in a file, 0 being one of them, against the base's reduce_zero_label."""
    root = Path(shutil.copytree(samples, tmp_path / 'set'))
    for file in (root / 'annotations').rglob('*.png'):
        labels = np.array(Image.open(file))
        Image.fromarray(np.where(labels == 0, 255, labels % 4).astype(np.uint8)).save(file)
    (tmp_path / 'names.txt').write_text('none\none\ntwo\nthree\n')
    result = run_tool(
        *(TOOL, ROOT / 'configs/upernet_convnext_atto_samples.py', 'mine.py'),
        *('--train-images', 'set/images/training', '--train-labels', 'set/annotations/training'),
        *('--val-images', 'set/images/validation', '--val-labels', 'set/annotations/validation'),
        *('--classes', 'names.txt', '--batch-size', 2, '--iters', 2),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert 'note: ids found: 0…3; id k is class k' in result.stdout
    result = run_tool(TRAIN, 'mine.py', '--work-dir', 'run', cwd=tmp_path, OMP_NUM_THREADS='1')
    assert result.returncode == 0, result.stderr[-2000:]
    output = result.stdout + result.stderr
    assert 'Iter(train) [2/2]' in ' '.join(output.split())
    assert '| three |' in ' '.join(output.split())
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()


def test_a_wrong_path_is_one_line(run_tool, tmp_path: Path) -> None:
    base = ROOT / 'configs/mask_rcnn_convnext_atto_samples.py'
    files = ('--train-ann', 'a.json', '--train-images', 'a', '--val-ann', 'b', '--val-images', 'b')
    result = run_tool(TOOL, base, 'mine.py', *files, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('error: a.json: expected a COCO annotation')
    assert list(tmp_path.iterdir()) == []
