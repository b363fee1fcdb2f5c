"""mim with the built wheel, as a person runs it in a folder of their own.

The environments are made here: each sees what .openmim and this one hold, but has its own
mmconvnext. Nothing is downloaded.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from mmconvnext.version import __version__
from tests.built_wheel import build_wheel, copy_source
from tests.conftest import CONFIGS, ROOT

OPENMIM = ROOT / '.openmim'
pytestmark = pytest.mark.skipif(
    not (OPENMIM / 'installed').is_file(),
    reason='no openmim here: make .openmim/installed, or make test',
)
METAFILE = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
MODELS = {model['Name']: model for model in METAFILE['Models']}
CONFIG = 'upernet_convnext_atto_samples.py'
# An offline machine: no index, no proxy that answers, no configuration of pip's.
OFFLINE = {
    'PIP_NO_INDEX': '1',
    'PIP_CONFIG_FILE': os.devnull,
    'PIP_DISABLE_PIP_VERSION_CHECK': '1',
    'MMCV_BASE_URL': 'file:///nowhere',
    'HTTPS_PROXY': 'http://127.0.0.1:9',
}


class Environment:
    """A virtual environment that sees the stack of this one, and openmim."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
        self.folder, self.python = folder, folder / 'bin' / 'python'
        (self.site_packages,) = folder.glob('lib/python*/site-packages')
        # Folders given by a .pth get no .pth of their own read: this environment's mmconvnext,
        # which is editable, is not importable there.
        visible = f'{OPENMIM}\n{sysconfig.get_path("purelib")}\n'
        (self.site_packages / 'visible.pth').write_text(visible)

    def run(self, module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
        """``python -m MODULE …``; of mim, that is what its script runs."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(('PIP_', 'PYTHON'))}
        home = self.folder / 'home'
        home.mkdir(exist_ok=True)
        return subprocess.run(
            # -W: mim asks for pkg_resources, which is deprecated, at every step.
            [self.python, '-W', 'ignore', '-m', module, *map(str, arguments)],
            cwd=cwd,
            env={**inherited, **OFFLINE, 'HOME': str(home), 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope='module')
def environment(tmp_path_factory) -> Environment:
    folder = tmp_path_factory.mktemp('mim')
    environment = Environment(folder / 'environment')
    wheel = build_wheel(folder)
    result = environment.run('pip', 'install', f'{wheel}[openmmlab]', cwd=folder)
    assert result.returncode == 0, result.stderr
    return environment


@pytest.fixture(scope='module')
def mim(environment, tmp_path_factory):
    """Runs mim in one and the same folder, empty at first."""
    folder = tmp_path_factory.mktemp('work')

    def run(*arguments: object) -> subprocess.CompletedProcess:
        return environment.run('mim', *arguments, cwd=folder)

    run.folder = folder
    return run


def options(samples: Path) -> list[str]:
    """Two iterations on the tiny samples."""
    roots = [
        f'{split}_dataloader.dataset.data_root={samples}' for split in ('train', 'val', 'test')
    ]
    return [
        '--cfg-options',
        *roots,
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'train_dataloader.batch_size=2',
        'default_hooks.checkpoint.interval=2',
        'model.data_preprocessor.size=(64,64)',
    ]


@pytest.fixture(scope='module')
def trained(mim, samples: Path) -> tuple[Path, str]:
    """A checkpoint that mim had trained, and what was printed."""
    result = mim('train', 'mmconvnext', CONFIG, '--work-dir', 'run', '--seed', 3, *options(samples))
    assert result.returncode == 0, result.stderr
    return mim.folder / 'run' / 'iter_2.pth', result.stdout


def test_every_way_of_looking_finds_the_wheel(environment: Environment, tmp_path: Path) -> None:
    """importlib.metadata for onedl's mim and pip, pkg_resources for openmim, and import."""
    (tmp_path / 'look.py').write_text(
        'import importlib.metadata, pkg_resources, mmconvnext\n'
        "print(importlib.metadata.distribution('mmconvnext').locate_file('mmconvnext'))\n"
        "print(pkg_resources.get_distribution('mmconvnext').location + '/mmconvnext')\n"
        'print(*mmconvnext.__path__)\n'
    )
    result = environment.run('look', cwd=tmp_path)
    assert result.stdout.split() == [str(environment.site_packages / 'mmconvnext')] * 3


def test_list_names_the_package(mim) -> None:
    result = mim('list')
    assert re.search(rf'^mmconvnext +{re.escape(__version__)}\b', result.stdout, re.M), result


def test_search_shows_every_config_and_whose_results_they_are(mim) -> None:
    result = mim('search', 'mmconvnext', '--json', 'found.json')
    assert result.returncode == 0, result.stderr
    columns = json.loads((mim.folder / 'found.json').read_text())
    assert set(columns['config']) == set(MODELS)
    for name, model in MODELS.items():
        assert columns['parameters'][name] == model['Metadata']['Parameters']
        assert columns['weight'][name] == model.get('Weights')
        for published in model.get('Results', []):
            assert columns['published_by'][name].endswith('not reproduced here')
            for metric, value in published['Metrics'].items():
                column = f'{published["Dataset"]}/{metric}'.lower().replace(' ', '_')
                assert columns[column][name] == value


def test_search_filters(mim) -> None:
    result = mim(
        *('search', 'mmconvnext', '--condition', 'miou>53,gmacs<2000,parameters<2e8'),
        *('--dataset', 'ade20k', '--field', 'miou', 'gmacs'),
    )
    assert re.findall(r'config id: (\w+)', result.stdout) == ['upernet_convnext_b_in22k_ade20k_640']
    assert re.search(r'ade20k/miou\(ms\+flip\) +53\.1\ngmacs +1827\.1\n', result.stdout)


def test_the_model_index_is_well_formed(environment: Environment, tmp_path: Path) -> None:
    index = environment.site_packages / 'mmconvnext' / '.mim' / 'model-index.yml'
    result = environment.run('modelindex', 'check', index, cwd=tmp_path)
    assert result.stdout.splitlines()[1:] == ['All good!'], result.stdout + result.stderr


def test_train_takes_a_config_by_name_and_passes_options_on(trained, environment) -> None:
    checkpoint, output = trained
    assert checkpoint.is_file()
    assert 'Training finished successfully' in output
    assert f'will use {environment.site_packages}/mmconvnext/.mim/configs/{CONFIG}' in output
    assert '--gpus' not in output


def test_test_starts_processes_by_torch_distributed_launch(trained, mim, samples) -> None:
    """Which hands the local rank over as an option of the tool."""
    result = mim(
        *('test', 'mmconvnext', CONFIG, '--checkpoint', trained[0], '--work-dir', 'tested'),
        *('--launcher', 'pytorch', '--gpus', 2, *options(samples)),
    )
    assert result.returncode == 0, result.stderr
    assert 'Distributed launcher: pytorch' in result.stdout
    assert re.search(r'^aAcc [\d.]+, mIoU [\d.]+', result.stdout, re.M)
    assert 'Testing finished successfully' in result.stdout


def test_run_infers_with_the_config_that_training_left(trained, mim, samples: Path) -> None:
    """``mim run`` finds tools by name, but takes configs by path alone."""
    checkpoint, _ = trained
    picture = sorted((samples / 'images' / 'validation').iterdir())[0]
    result = mim(
        *('run', 'mmconvnext', 'infer', checkpoint.parent / CONFIG, checkpoint, picture),
        *('--out', 'found', '--device', 'cpu'),
    )
    assert result.returncode == 0, result.stderr
    assert (mim.folder / 'found' / 'labels' / f'{picture.stem}.png').is_file()
    assert 'The script finished successfully' in result.stdout


def test_run_measures_with_what_ships_beside_the_tools(mim) -> None:
    result = mim(
        *('run', 'mmconvnext', 'benchmark', 'backbone', '--arch', 'atto', '--sizes', 32),
        *('--infer', '--rounds', 1, '--rivals', 'timm,official-like', '--out', 'bars'),
    )
    assert result.returncode == 0, result.stderr
    assert 'left out: timm (backbone): is not on the path' in result.stdout
    assert 'official-like, channels_last' in result.stdout
    assert (mim.folder / 'bars' / 'backbone.png').is_file()


@pytest.mark.parametrize(
    ('command', 'answer'),
    [
        (['train', 'mmconvnext', 'upernet_convnext_t'], "doesn't exist and we can not find"),
        (['run', 'mmconvnext', 'nothing'], 'No script in codebase mmconvnext'),
        (
            ['test', 'mmconvnext', CONFIG, '--checkpoint', 'nothing.pth'],
            'error: data: data/samples/segmentation/images/validation does not exist',
        ),
    ],
)
def test_mistakes_are_told(mim, command, answer) -> None:
    result = mim(*command)
    assert result.returncode == 1
    assert answer in result.stderr


def test_mim_installs_from_a_source_folder(tmp_path: Path) -> None:
    environment = Environment(tmp_path / 'environment')
    source = copy_source(tmp_path / 'source')
    # Without isolation, for which pip downloads setuptools.
    result = environment.run('mim', 'install', '--no-build-isolation', '.', cwd=source)
    assert result.returncode == 0, result.stdout + result.stderr
    found = environment.run('mim', 'search', 'mmconvnext', '--valid-config', cwd=tmp_path).stdout
    assert set(re.findall(r"'(\w+)'", found)) == set(MODELS)
