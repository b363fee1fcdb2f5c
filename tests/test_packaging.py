"""What ``pip install .`` and ``mim`` get."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmconvnext.analysis.complexity import count_detector, count_segmentor
from mmconvnext.version import __version__
from tests.conftest import CONFIGS, ROOT

METAFILE = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
MODELS = {model['Name']: model for model in METAFILE['Models']}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp('wheel')
    tracked = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split('\n')
    # From a copy: building leaves files beside its sources.
    for name in filter(None, tracked):
        source, target = ROOT / name, folder / 'source' / name
        if source.is_file() and not name.startswith('tests/'):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    options = ['--no-deps', '--no-build-isolation', '--quiet', '--wheel-dir', folder]
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, folder / 'source'], check=True)
    (path,) = folder.glob('*.whl')
    return zipfile.ZipFile(path)


def test_wheel_ships_configs_tools_and_index_for_mim(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for folder in ('configs', 'tools'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert f'mmconvnext/.mim/{path.relative_to(ROOT)}' in names
    assert 'mmconvnext/.mim/model-index.yml' in names
    assert 'mmconvnext/backbones/convnext.py' in names
    assert not any(name.startswith(('tests/', 'configs/', 'tools/')) for name in names)


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f'mmconvnext-{__version__}.dist-info/METADATA').decode()
    required = [line for line in metadata.splitlines() if line.startswith('Requires-Dist')]
    always = [line for line in required if 'extra ==' not in line]
    assert not any('mm' in line.split(':')[1].split('>')[0] for line in always), always
    assert any('mmcv-lite==2.1.0; extra == "openmmlab"' in line for line in required)
    assert 'License-Expression: Apache-2.0' in metadata or 'License: Apache-2.0' in metadata


def test_index_imports_the_metafile() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index == {'Import': ['configs/metafile.yml']}


def test_metafile_has_every_config() -> None:
    assert set(MODELS) == {path.stem for path in CONFIGS.glob('*.py')}
    collections = {collection['Name'] for collection in METAFILE['Collections']}
    assert all(model['In Collection'] in collections for model in MODELS.values())


@pytest.mark.parametrize('name', [name for name in MODELS if 'Results' in MODELS[name]])
def test_metafile_agrees_with_the_config(name: str) -> None:
    model, path = MODELS[name], Path(ROOT / MODELS[name]['Config'])
    config = Config.fromfile(path)
    metadata = model['Metadata']
    if metadata['Training Data'] == 'COCO':
        macs, parameters = count_detector(config, 800, 1280)
        assert metadata['Epochs'] == config.train_cfg.max_epochs
    else:
        crop = metadata['Crop Size']
        macs, parameters = count_segmentor(config, crop, 4 * crop)
        assert metadata['Iterations'] == config.train_cfg.max_iters
        assert config.model.test_cfg.crop_size == (crop, crop)
    assert metadata['Batch Size'] == config.auto_scale_lr.base_batch_size
    assert metadata['GMACs'] == round(macs / 1e9, 1)
    assert metadata['Parameters (M)'] == round(parameters / 1e6, 2)
    assert model['Weights'] == config.model.backbone.init_cfg.checkpoint
    mixed = config.optim_wrapper.type == 'AmpOptimWrapper'
    assert metadata['Precision'] == ('mixed' if mixed else 'float32')
    record = path.read_text()
    for result in model['Results']:
        assert all(str(value) in record for value in result['Metrics'].values())
