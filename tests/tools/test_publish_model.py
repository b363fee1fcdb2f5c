"""A model that was trained here, published, tested as the checkpoint was."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from tests.conftest import CONFIGS

CONFIG = 'configs/upernet_convnext_atto_samples.py'
SMALLER = [
    'model.decode_head.channels=8',
    'model.data_preprocessor.size=(64,64)',
]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """As after training: the weights, the classes, the config, an optimizer."""
    config = Config.fromfile(CONFIGS / Path(CONFIG).name)
    config.model.decode_head.channels = 8
    config.model.backbone.init_cfg = None
    config.work_dir = '/home/someone/work'
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    meta = {
        'dataset_meta': dict(config.test_dataloader.dataset.metainfo),
        'cfg': config.pretty_text,
        'seed': 7,
    }
    state = model.state_dict()
    path = tmp_path_factory.mktemp('trained') / 'iter_4.pth'
    optimizer = {'state': dict(enumerate(state.values()))}
    torch.save({'meta': meta, 'state_dict': state, 'optimizer': optimizer}, path)
    return path


def measured(run_tool, samples: Path, checkpoint: Path, work_dir: Path) -> str:
    result = run_tool(
        *('tools/test.py', CONFIG, checkpoint, '--work-dir', work_dir, '--cfg-options'),
        *(f'test_dataloader.dataset.data_root={samples}', *SMALLER),
    )
    assert result.returncode == 0, result.stderr
    return re.search(r'^aAcc .*$', result.stdout, re.M)[0]


def test_published_files_test_as_the_checkpoint(
    checkpoint: Path, samples: Path, run_tool, tmp_path: Path
) -> None:
    before = measured(run_tool, samples, checkpoint, tmp_path / 'before')
    for ending in ('pth', 'safetensors'):
        out = tmp_path / f'published/model.{ending}'
        result = run_tool('tools/publish_model.py', checkpoint, out, '--json')
        assert result.returncode == 0, result.stderr
        told = json.loads(result.stdout)
        assert re.fullmatch(rf'model-[0-9a-f]{{8,}}\.{ending}', Path(told['path']).name)
        assert told['classes'] == 6
        assert told['config']
        assert told['bytes'] < told['bytes_before']
        assert b'/home/someone' not in Path(told['path']).read_bytes()
        assert measured(run_tool, samples, Path(told['path']), tmp_path / ending) == before


def test_says_in_one_line_what_was_written_and_what_went_wrong(
    checkpoint: Path, run_tool, tmp_path: Path
) -> None:
    result = run_tool('tools/publish_model.py', checkpoint, tmp_path / 'model.pth')
    assert result.returncode == 0, result.stderr
    assert re.search(r'model-\w+\.pth: .* MB, \d+ tensors \(weights\), 6 classes', result.stdout)
    result = run_tool('tools/publish_model.py', tmp_path / 'none.pth', tmp_path / 'model.pth')
    assert result.returncode == 1
    assert re.fullmatch(r'error: .*none\.pth: no such checkpoint file\n', result.stderr)
