"""The tools, each in a process of its own, as a person runs them."""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import load_file, save_file

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.convert import from_official
from mmconvnext.checkpoints.formats import MMPRETRAIN
from mmconvnext.command_line.hardware import fit_to_hardware
from tests.conftest import ROOT

SAMPLES_CONFIG = 'configs/upernet_convnext_atto_samples.py'
ADE20K_CONFIG = 'configs/upernet_convnext_t_ade20k.py'
TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py'))


class RunsCode:
    """Pickled, it would make a folder on loading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def short_run(samples: Path, *more: str) -> list[str]:
    """Four iterations on the tiny samples, a checkpoint at every second one."""
    roots = [
        f'{split}_dataloader.dataset.data_root={samples}' for split in ('train', 'val', 'test')
    ]
    return [
        '--cfg-options',
        *roots,
        'train_cfg.max_iters=4',
        'train_cfg.val_interval=4',
        'train_dataloader.batch_size=2',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
        'model.data_preprocessor.size=(64,64)',
        *more,
    ]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, samples: Path, run_tool) -> tuple[Path, str]:
    """A work dir with iter_2.pth and iter_4.pth, and what the training printed."""
    work_dir = tmp_path_factory.mktemp('work') / 'run'
    result = run_tool(
        *('tools/train.py', SAMPLES_CONFIG, '--work-dir', work_dir, '--seed', 3, '--amp'),
        *('--pretrained', 'none', '--auto-scale-lr'),
        *short_run(samples),
    )
    assert result.returncode == 0, result.stderr
    return work_dir, result.stdout + result.stderr


def assert_one_line_error(result: subprocess.CompletedProcess, *parts: str) -> None:
    assert result.returncode == 1, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1, result.stderr
    assert 'Traceback' not in result.stderr
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize('tool', TOOLS)
def test_help_has_an_example(tool: str, run_tool) -> None:
    result = run_tool(f'tools/{tool}', '--help')
    assert result.returncode == 0, result.stderr
    assert f'python tools/{tool} ' in result.stdout
    if tool in ('train.py', 'test.py'):
        assert '--gpus' not in result.stdout, 'mim would take it for an option of its own'


def test_training_says_what_it_does(trained) -> None:
    work_dir, output = trained
    assert (work_dir / 'iter_4.pth').is_file()
    assert 'training in float32 instead of mixed precision' in output
    assert 'NO PRETRAINED WEIGHTS' in output
    assert 'mIoU' in output
    line = next(line for line in output.splitlines() if 'Iter(train) [4/4]' in line)
    rates = dict(re.findall(r'(\w*lr): (\S+)', line))
    base, stem = float(rates['base_lr']), float(rates['stem_lr'])
    # stage_wise, rate .9, N = 6: the stem is seven powers below the heads.
    assert stem == pytest.approx(base * 0.9**7, rel=1e-3)
    assert float(rates['lr']) == base
    # --auto-scale-lr: 2 images instead of 8.
    assert base < 2e-3 / 4 * 1.001


def test_resume_goes_on_where_it_was(trained, samples: Path, run_tool, tmp_path) -> None:
    work_dir, _ = trained
    again = run_tool(
        *('tools/train.py', SAMPLES_CONFIG, '--work-dir', tmp_path),
        *('--resume', work_dir / 'iter_2.pth', *short_run(samples)),
    )
    assert again.returncode == 0, again.stderr
    output = again.stdout + again.stderr
    assert 'Iter(train) [3/4]' in output
    assert 'Iter(train) [2/4]' not in output
    automatic = run_tool(
        *('tools/train.py', SAMPLES_CONFIG, '--work-dir', tmp_path, '--resume'),
        *short_run(samples, 'train_cfg.max_iters=5'),
    )
    assert automatic.returncode == 0, automatic.stderr
    output = automatic.stdout + automatic.stderr
    assert f'Resuming from {tmp_path / "iter_4.pth"}' in output
    assert 'Iter(train) [5/5]' in output


def test_testing_writes_pictures_and_predictions(trained, samples, run_tool, tmp_path) -> None:
    work_dir, _ = trained
    command = ['tools/test.py', SAMPLES_CONFIG, work_dir / 'iter_4.pth']
    options = short_run(samples)
    result = run_tool(
        *(*command, '--work-dir', tmp_path / 'w', '--show-dir', tmp_path / 'pictures'),
        *('--out', tmp_path / 'labels', *options),
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r'^aAcc \S+, mIoU \S+, mAcc \S+$', result.stdout, re.M)
    assert f'written: {tmp_path / "pictures"}' in result.stdout
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 4
    labels = [cv2.imread(str(p), -1) for p in (tmp_path / 'labels').glob('*.png')]
    assert len(labels) == 4
    assert all(label.min() >= 1 and label.max() <= 6 for label in labels), 'ids of the annotations'


def test_testing_with_augmentation_keeps_pickled_predictions(
    trained, samples, run_tool, tmp_path
) -> None:
    work_dir, _ = trained
    result = run_tool(
        *('tools/test.py', SAMPLES_CONFIG, work_dir / 'iter_4.pth', '--tta'),
        *('--work-dir', tmp_path / 'w', '--out', tmp_path / 'all.pkl', *short_run(samples)),
    )
    assert result.returncode == 0, result.stderr
    assert 'mIoU' in result.stdout
    with open(tmp_path / 'all.pkl', 'rb') as file:
        assert len(pickle.load(file)) == 4


@pytest.mark.parametrize('missing', ['data', 'weights'])
def test_what_is_missing_is_named_in_one_line(missing, samples, run_tool, tmp_path) -> None:
    # From another folder: the repository's own may have the data.
    tool, config = ROOT / 'tools' / 'train.py', ROOT / ADE20K_CONFIG
    options = ['--work-dir', tmp_path / 'run']
    parts = ['data/ade/ADEChallengeData2016/images/training does not exist', 'prepare_ade20k.py']
    if missing == 'weights':
        roots = [f'{split}_dataloader.dataset.data_root={samples}' for split in ('train', 'val')]
        # Nothing listens there: as good as offline.
        options += ['--pretrained', 'http://127.0.0.1:9/convnext_tiny_1k_224.pth']
        options += ['--cfg-options', *roots]
        parts = ['the download failed', 'hub/checkpoints/convnext_tiny_1k_224.pth', '--pretrained']
    result = run_tool(tool, config, *options, cwd=tmp_path, TORCH_HOME=str(tmp_path / 'home'))
    assert_one_line_error(result, *parts)
    assert not (tmp_path / 'run').exists(), 'nothing half-written'


def test_another_model_s_checkpoint_is_refused(trained, samples, run_tool, tmp_path) -> None:
    work_dir, _ = trained
    result = run_tool(
        *('tools/test.py', SAMPLES_CONFIG, work_dir / 'iter_4.pth', '--work-dir', tmp_path),
        *short_run(samples, 'model.backbone.arch=femto'),
    )
    assert_one_line_error(result, 'does not fit the model', 'of another shape')


@pytest.mark.parametrize('tool', ['test', 'resume'])
def test_a_checkpoint_that_would_run_code_runs_nothing(tool, samples, run_tool, tmp_path) -> None:
    target = tmp_path / 'made-by-the-checkpoint'
    torch.save({'state_dict': {}, 'meta': RunsCode(target)}, tmp_path / 'evil.pth')
    command = {
        'test': ['tools/test.py', SAMPLES_CONFIG, tmp_path / 'evil.pth'],
        'resume': ['tools/train.py', SAMPLES_CONFIG, '--resume', tmp_path / 'evil.pth'],
    }[tool]
    result = run_tool(*command, '--work-dir', tmp_path / 'run', *short_run(samples))
    assert_one_line_error(result, 'refused, no code in it was run', 'mkdir')
    assert not target.exists()


def test_a_missing_config_and_a_missing_checkpoint(run_tool, samples, tmp_path) -> None:
    result = run_tool('tools/train.py', 'configs/none.py')
    assert_one_line_error(result, 'configs/none.py: no such config file')
    result = run_tool(
        *('tools/test.py', SAMPLES_CONFIG, tmp_path / 'none.pth', '--work-dir', tmp_path / 'run'),
        *short_run(samples),
    )
    assert_one_line_error(result, 'no such checkpoint file')


def test_a_released_segmentor_with_mmpretrain_s_names_tests_the_same(
    trained, samples, run_tool, tmp_path
) -> None:
    work_dir, _ = trained
    ours = torch.load(work_dir / 'iter_4.pth', weights_only=True)['state_dict']
    backbone = {k.removeprefix('backbone.'): v for k, v in ours.items() if 'backbone.' in k}
    released = {f'backbone.{k}': v for k, v in from_official(backbone, MMPRETRAIN).items()}
    released |= {key: value for key, value in ours.items() if 'backbone.' not in key}
    torch.save({'state_dict': released, 'meta': {'CLASSES': ('a',)}}, tmp_path / 'released.pth')
    lines = []
    for checkpoint in (work_dir / 'iter_4.pth', tmp_path / 'released.pth'):
        result = run_tool(
            *('tools/test.py', SAMPLES_CONFIG, checkpoint, '--work-dir', tmp_path / 'w'),
            *short_run(samples),
        )
        assert result.returncode == 0, result.stderr
        lines.append(re.search(r'^aAcc .*$', result.stdout, re.M)[0])
    assert lines[0] == lines[1]


def test_reproduce_prints_ours_beside_the_published(samples, run_tool, tmp_path) -> None:
    """With random weights under a published name, on the tiny samples."""
    config = Config.fromfile(ROOT / ADE20K_CONFIG)
    fit_to_hardware(config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    path = tmp_path / 'upernet_convnext_tiny_1k_512x512.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    options = [
        f'test_dataloader.dataset.data_root={samples}',
        'test_dataloader.dataset.indices=1',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        'test_dataloader.dataset.pipeline.1.scale=(64,64)',
        'test_dataloader.dataset.img_suffix=.jpg',
    ]
    result = run_tool(
        *('tools/reproduce.py', path, '--work-dir', tmp_path / 'w', '--cfg-options', *options)
    )
    assert result.returncode == 0, result.stderr[-2000:]
    row = next(line for line in result.stdout.splitlines() if path.name in line)
    assert re.search(
        r'upernet_convnext_t_ade20k +│ mIoU +│ \d+\.\d\d +│ 46\.0 +│ the paper', row
    ), row
    other = path.rename(tmp_path / 'other.pth')
    result = run_tool('tools/reproduce.py', other)
    assert_one_line_error(result, 'expected the name of a published model')


def test_convert_checkpoint(run_tool, tmp_path) -> None:
    with torch.device('cpu'):
        state = ConvNeXt('atto').state_dict()
    state = {k: v for k, v in state.items() if not k.startswith('norm')}
    torch.save({'model': state}, tmp_path / 'official.pth')
    command = ['tools/convert_checkpoint.py', tmp_path / 'official.pth', tmp_path / 'a.safetensors']
    result = run_tool(*command, '--to', 'timm', '--report')
    assert result.returncode == 0, result.stderr
    assert 'official (atto: depths 2-2-6-2' in result.stdout
    assert 'left aside: 0' in result.stdout
    assert 'stem.0.weight' in load_file(tmp_path / 'a.safetensors')
    assert_one_line_error(run_tool(*command), 'exists; give --force')
    (tmp_path / 'page.pth').write_text('<html>404</html>')
    result = run_tool(command[0], tmp_path / 'page.pth', tmp_path / 'b.pth')
    assert_one_line_error(result, 'page.pth: not a readable checkpoint')
    assert not (tmp_path / 'b.pth').exists()


BAD_FILES = {
    'code': 'refused, no code in it was run',
    'truncated': 'not a readable checkpoint',
    'page': 'not a readable checkpoint',
    'text': 'not a readable checkpoint',
    'wrapped': 'expected a dict of tensors',
    'nan': 'found NaN or infinity',
    'inf': 'found NaN or infinity',
    'meta': 'without values',
    'missing': 'no such checkpoint file',
}


def write_bad_file(kind: str, folder: Path) -> Path:
    path = folder / f'{kind}.pth'
    state = ConvNeXt('atto').state_dict()
    content: object = {key: value for key, value in state.items() if not key.startswith('norm')}
    if kind in ('page', 'text'):
        path.write_text({'page': '<html>404</html>', 'text': 'weights, later\n'}[kind])
    elif kind != 'missing':
        if kind == 'code':
            content = {'model': RunsCode(folder / 'made-by-the-checkpoint')}
        elif kind == 'wrapped':
            for _ in range(50):
                content = {'model': content}
        elif kind in ('nan', 'inf'):
            content['stages.0.0.gamma'][0] = float(kind)
        elif kind == 'meta':
            content = {key: value.to('meta') for key, value in content.items()}
        torch.save(content, path)
        if kind == 'truncated':
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ('tool', 'kind'),
    [
        *[(tool, kind) for tool in ('train', 'convert') for kind in BAD_FILES],
        # Testing reads whole models; what is wrong with one's values follows below.
        *[
            (tool, kind)
            for tool in ('test', 'reproduce')
            for kind in ('code', 'truncated', 'page', 'text', 'missing')
        ],
    ],
)
def test_every_bad_file_gets_one_line(kind, tool, samples, run_tool, tmp_path) -> None:
    path = write_bad_file(kind, tmp_path)
    command = {
        'train': [
            *('tools/train.py', SAMPLES_CONFIG, '--work-dir', tmp_path / 'run'),
            *('--pretrained', path, *short_run(samples)),
        ],
        'convert': ['tools/convert_checkpoint.py', path, tmp_path / 'converted.pth'],
        'test': [
            *('tools/test.py', SAMPLES_CONFIG, path, '--work-dir', tmp_path / 'run'),
            *short_run(samples),
        ],
        'reproduce': ['tools/reproduce.py', tmp_path / 'upernet_convnext_tiny_1k_512x512.pth'],
    }[tool]
    if tool == 'reproduce' and kind != 'missing':
        path.rename(command[1])
    assert_one_line_error(run_tool(*command), BAD_FILES[kind])
    assert not (tmp_path / 'made-by-the-checkpoint').exists()
    assert not (tmp_path / 'converted.pth').exists()


@pytest.mark.parametrize('kind', ['truncated', 'nan', 'meta'])
def test_a_broken_segmentor_is_not_tested(kind, trained, samples, run_tool, tmp_path) -> None:
    work_dir, _ = trained
    content = torch.load(work_dir / 'iter_4.pth', weights_only=True)
    bias = content['state_dict']['decode_head.conv_seg.bias']
    if kind == 'nan':
        bias[0] = float('nan')
    elif kind == 'meta':
        content['state_dict']['decode_head.conv_seg.bias'] = bias.to('meta')
    torch.save(content, tmp_path / 'a.pth')
    if kind == 'truncated':
        (tmp_path / 'a.pth').write_bytes((tmp_path / 'a.pth').read_bytes()[:5000])
    result = run_tool(
        *('tools/test.py', SAMPLES_CONFIG, tmp_path / 'a.pth', '--work-dir', tmp_path / 'run'),
        *short_run(samples),
    )
    assert_one_line_error(result, BAD_FILES[kind])


def test_a_segmentor_in_shards_tests_the_same(trained, samples, run_tool, tmp_path) -> None:
    work_dir, _ = trained
    state = torch.load(work_dir / 'iter_4.pth', weights_only=True)['state_dict']
    weight_map = {}
    for name, part in (('a', 'backbone.'), ('b', 'decode_head.')):
        shard = {key: value for key, value in state.items() if key.startswith(part)}
        save_file(shard, tmp_path / f'{name}.safetensors')
        weight_map |= dict.fromkeys(shard, f'{name}.safetensors')
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': weight_map}))
    scores = []
    for file in (work_dir / 'iter_4.pth', index):
        command = ('tools/test.py', SAMPLES_CONFIG, file, '--work-dir', tmp_path / 'run')
        result = run_tool(*command, *short_run(samples))
        assert result.returncode == 0, result.stderr
        scores.append(result.stdout.splitlines()[-1])
    assert 'mIoU' in scores[0]
    assert scores[0] == scores[1]


def test_make_samples_leaves_other_folders_alone(run_tool, tmp_path) -> None:
    (tmp_path / 'thesis.txt').write_text('years of work')
    assert_one_line_error(run_tool('tools/make_samples.py', tmp_path), 'choose another folder')
    result = run_tool('tools/make_samples.py', tmp_path / 'a', '--training', 2, '--validation', 1)
    assert result.returncode == 0, result.stderr
    assert f'samples: {tmp_path / "a"}' in result.stdout


def test_two_processes_train_and_test_over_gloo(samples, tmp_path) -> None:
    """With SyncBN in the config, which a CPU cannot do, and stochastic depth."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': port, 'OMP_NUM_THREADS': '1'}
    options = short_run(
        samples,
        'model.decode_head.norm_cfg.type=SyncBN',
        'model.backbone.drop_path_rate=0.4',
        'optim_wrapper.type=AmpOptimWrapper',
    )
    for command in (
        ['tools/dist_train.sh', SAMPLES_CONFIG, '2', '--work-dir', tmp_path / 'run', *options],
        [
            *('tools/dist_test.sh', SAMPLES_CONFIG, tmp_path / 'run' / 'iter_4.pth', '2'),
            *('--work-dir', tmp_path / 'test', *options),
        ],
    ):
        result = subprocess.run(
            ['bash', *map(str, command)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        output = result.stdout + result.stderr
        assert 'processes communicate over gloo' in output
        assert 'mIoU' in output
    assert 'Distributed launcher: pytorch' in output
    assert re.search(r'GPU number: 2|world_size.*2', output)


@pytest.mark.parametrize(('script', 'count'), [('dist_train.sh', 1), ('dist_test.sh', 2)])
def test_shell_scripts_say_their_usage(script: str, count: int) -> None:
    result = subprocess.run(
        ['bash', ROOT / 'tools' / script, *['x'] * count],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith('usage: [NNODES=N')


@pytest.mark.parametrize(
    ('option', 'parts'),
    [
        ('train_dataloder.batch_size=4', ['train_dataloder', 'did you mean train_dataloader?']),
        ('model.backbone.arch=tinny', ['expected one of atto, ', "got 'tinny'"]),
        (
            'optim_wrapper.paramwise_cfg.decay_rate=2',
            ['decay_rate: expected a number in (0, 1], got 2'],
        ),
    ],
)
def test_a_wrong_option_gets_one_line(option, parts, samples, run_tool, tmp_path) -> None:
    result = run_tool(
        *('tools/train.py', SAMPLES_CONFIG, '--work-dir', tmp_path),
        *short_run(samples, option),
    )
    assert_one_line_error(result, *parts)


def test_an_option_without_a_value_gets_argparse_s_answer(run_tool) -> None:
    result = run_tool('tools/train.py', SAMPLES_CONFIG, '--cfg-options', 'nothing')
    assert result.returncode == 2
    assert 'expected KEY=VALUE' in result.stderr
    assert 'Traceback' not in result.stderr


def test_drop_in_trains_in_mmseg_s_own_tool(samples, run_tool, tmp_path) -> None:
    """The block of docs/own_project.md over a stock config, made small enough for a test."""
    import mmseg

    mim = Path(mmseg.__file__).parent / '.mim'
    stock = mim / 'configs/convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'
    backbone = ConvNeXt('tiny')
    state = {k: v for k, v in backbone.state_dict().items() if not k.startswith('norm')}
    torch.save({'model': {**state, 'head.weight': torch.zeros(1)}}, tmp_path / 'official.pth')
    page = (ROOT / 'docs/own_project.md').read_text()
    block = next(b for b in re.findall(r'```python\n(.*?)```', page, re.S) if 'init_cfg' in b)
    block = re.sub(r'https://\S+convnext_tiny_1k_224.pth', str(tmp_path / 'official.pth'), block)
    loaders = ''.join(
        f'{split}_dataloader = dict(num_workers=0, persistent_workers=False,\n'
        f"    dataset=dict(data_root='{samples}'))\n"
        for split in ('train', 'val')
    )
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{stock}'\n{block}\n{loaders}"
        'train_cfg = dict(max_iters=1, val_interval=9)\n'
        "model['data_preprocessor'] = dict(size=(64, 64))\n"
        # float32, since mmseg's tool does not fall back on a CPU by itself.
        "optim_wrapper = dict(_delete_=True, type='OptimWrapper',\n"
        "    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=.05),\n"
        "    paramwise_cfg=dict(decay_rate=.9, decay_type='stage_wise', num_layers=6),\n"
        "    constructor='LearningRateDecayOptimizerConstructor')\n"
    )
    result = run_tool(
        *(mim / 'tools' / 'train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options'),
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'default_hooks.logger.interval=1',
    )
    assert result.returncode == 0, result.stderr[-2000:]
    output = result.stdout + result.stderr
    assert 'Loaded 178 tensors (CRC-32 ' in output
    assert 'Iter(train) [1/1]' in output
