"""tools/check_dataset.py as a person runs it."""

import json
import shutil
from pathlib import Path

from tests.conftest import ROOT

CONFIG = ROOT / 'configs' / 'upernet_convnext_atto_samples.py'


def test_good_data_end_with_0_and_plots(samples: Path, run_tool, tmp_path: Path) -> None:
    command = (ROOT / 'tools/check_dataset.py', CONFIG, '--jobs', 1)
    result = run_tool(*command, '--cfg-options', f'data_root={samples}', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == '0 errors, 0 warnings: ready to train'
    folder = tmp_path / 'work_dirs' / 'check_dataset' / CONFIG.stem
    assert sorted(path.name for path in folder.iterdir()) == ['classes.png', 'sizes.png']


def test_bad_data_end_with_1_and_the_file(samples: Path, run_tool, tmp_path: Path) -> None:
    root = Path(shutil.copytree(samples, tmp_path / 'set'))
    (root / 'images/training/training_0003.jpg').write_bytes(b'')
    command = ('tools/check_dataset.py', CONFIG, '--json', '--out', tmp_path / 'plots')
    result = run_tool(*command, '--cfg-options', f'data_root={root}')
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report['errors'] == 1
    assert report['findings'][0]['kind'] == 'unreadable images'
    assert report['findings'][0]['offenders'] == [f'{root}/images/training/training_0003.jpg']
    assert len(report['plots']) == 2
    assert 'Traceback' not in result.stderr


def test_missing_data_are_one_line(run_tool, tmp_path: Path) -> None:
    result = run_tool(ROOT / 'tools/check_dataset.py', CONFIG, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith('error: data: data/samples/segmentation')
    assert not (tmp_path / 'work_dirs').exists()
