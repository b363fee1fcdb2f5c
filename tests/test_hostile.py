"""What strangers made runs nothing, removes nothing and ends in one line, in every tool."""

import contextlib
import io
import multiprocessing
import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.conftest import ROOT
from tests.hostile_files import FILES
from tests.test_tools import SAMPLES_CONFIG, short_run
from tests.tool_process import IMPORTED


class Outcome(NamedTuple):
    """What a command came to; ``crash`` is a traceback, or ''."""

    command: list[str]
    code: int
    stderr: str
    crash: str


def run_each(commands: Sequence[Sequence[str]]) -> list[Outcome]:
    """Run commands of tools in turn, in one process that is forked with all imported."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(IMPORTED)
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_run_here, args=([[str(w) for w in c] for c in commands], theirs)
    )
    process.start()
    theirs.close()
    outcomes = []
    with contextlib.suppress(EOFError):
        for _ in commands:
            outcomes.append(Outcome(*ours.recv()))
    process.join()
    assert len(outcomes) == len(commands), f'{commands[len(outcomes)]} ended the process'
    return outcomes


def _run_here(commands: list[list[str]], answers) -> None:
    torch.set_num_threads(1)
    os.chdir(ROOT)
    sink = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(sink, descriptor)
    for command in commands:
        sys.argv = command
        stderr, code, crash = io.StringIO(), 0, ''
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            try:
                runpy.run_path(command[0], run_name='__main__')
            except SystemExit as end:
                if isinstance(end.code, str):  # as the interpreter does
                    stderr.write(f'{end.code}\n')
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                code, crash = 1, traceback.format_exc()
        answers.send((command, code, stderr.getvalue(), crash))


@pytest.fixture(scope='module')
def good(tmp_path_factory, samples: Path) -> dict:
    """The content of a good checkpoint of training."""
    work_dir = tmp_path_factory.mktemp('good')
    options = short_run(samples, 'train_cfg.max_iters=1', 'default_hooks.checkpoint.interval=1')
    command = ['tools/train.py', SAMPLES_CONFIG, '--work-dir', work_dir, *options]
    (outcome,) = run_each([command])
    assert outcome.code == 0, outcome
    return torch.load(work_dir / 'iter_1.pth', weights_only=True)


def command_of(tool: str, file: Path, samples: Path, folder: Path) -> list[object]:
    work_dir = folder / 'work' / 'run'
    options = short_run(samples, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2')
    options += [
        'default_hooks.checkpoint.save_best=mIoU',
        'default_hooks.checkpoint.max_keep_ckpts=1',
    ]
    train = ['tools/train.py', SAMPLES_CONFIG, '--work-dir', work_dir, '--overwrite']
    return {
        'resume': [*train, '--resume', file, *options],
        'load_from': [*train, *options, f'load_from={file}'],
        'pretrained': [*train, '--pretrained', file, *options],
        'test': ['tools/test.py', SAMPLES_CONFIG, file, '--work-dir', work_dir, *options],
        'infer': [
            *('tools/infer.py', SAMPLES_CONFIG, file, samples / 'images' / 'validation'),
            *('--out', folder / 'found'),
        ],
        'publish': ['tools/publish_model.py', file, folder / 'published.pth'],
        'convert': ['tools/convert_checkpoint.py', file, folder / 'converted.pth'],
    }[tool]


# Training takes a second a file: those whose harm is in what training reads.
_OF_TRAINING = [
    *('os_system', 'in_the_hub', 'in_the_optimizer', 'stride_0', 'stride_0_in_the_hub', 'circles'),
    *('best_elsewhere', 'best_file_elsewhere', 'kept_elsewhere', 'last_elsewhere', 'odd_counts'),
    *('config_runs', 'cfg_runs', 'config_is_a_number', 'iteration_below_0', 'iteration_is_a_text'),
    *('iteration_is_huge', 'seed_is_a_list', 'methods_in_a_history', 'schedulers_with_attributes'),
    *('flipped', 'cut', 'deep', 'nan', 'shards_elsewhere'),
]
TRIED = {
    'resume': _OF_TRAINING,
    'load_from': ['os_system', 'config_runs', 'stride_0', 'flipped', 'legacy_format'],
    'pretrained': ['eval', 'stride_0', 'flipped', 'complex', 'header_of_safetensors'],
    'test': [
        'os_system',
        'config_runs',
        'stride_0',
        'sparse',
        'a_million_labels',
        'flipped',
        'deep',
    ],
    'infer': ['exec', 'classes_are_odd', 'a_million_labels', 'stride_0_same_shape', 'config_runs'],
    'publish': list(FILES),
    'convert': list(FILES),
}


@pytest.mark.parametrize('tool', TRIED)
def test_files(tool: str, good: dict, samples: Path, tmp_path: Path) -> None:
    canary, precious = tmp_path / 'canary', tmp_path / 'precious'
    precious.mkdir()
    (precious / 'file').write_text('precious')
    commands = []
    for number, name in enumerate(TRIED[tool]):
        folder = tmp_path / f'{number}'
        folder.mkdir()
        path = folder / f'{name}.pth'
        path = FILES[name](good, path, canary) or path
        commands.append(command_of(tool, path, samples, folder))
    for name, outcome in zip(TRIED[tool], run_each(commands)):
        assert not canary.exists(), f'{name}: ran'
        assert (precious / 'file').read_text() == 'precious', f'{name}: removed'
        assert outcome.crash == '', f'{name}: {outcome.crash[-3000:]}'
        assert 'Traceback' not in outcome.stderr, f'{name}: {outcome.stderr[-3000:]}'
        if outcome.code:
            lines = [line for line in outcome.stderr.splitlines() if line.startswith('error: ')]
            assert outcome.code == 1, (name, outcome.stderr)
            assert len(lines) == 1, f'{name}: {outcome.stderr[-3000:]}'


def test_enough_is_tried() -> None:
    assert sum(map(len, TRIED.values())) >= 80


_TAGS = {
    'apply': '!!python/object/apply:os.mkdir [{canary!r}]',
    'new': '!!python/object/new:os.system [{touch!r}]',
    'name': '!!python/name:os.system',
    'module': '!!python/module:subprocess',
    'object': '!!python/object:argparse.Namespace {{}}',
}
_CONFIG_TOOLS = {
    'train': ['tools/train.py'],
    'test': ['tools/test.py', 'none.pth'],
    'analyze_model': ['tools/analyze_model.py'],
    'show_lr': ['tools/show_lr.py'],
    'check_dataset': ['tools/check_dataset.py'],
}


def test_yaml_configs(tmp_path: Path) -> None:
    """Named on the command line, or as the `_base_` of one that is."""
    canary, commands = tmp_path / 'canary', []
    for name, tag in _TAGS.items():
        text = tag.format(canary=str(canary), touch=f'touch {canary}')
        (tmp_path / f'{name}.yaml').write_text(f'model: {{type: x}}\nevil: {text}\n')
        (tmp_path / f'{name}.py').write_text(f'_base_ = "{name}.yaml"\n')
    for tool, *more in _CONFIG_TOOLS.values():
        commands += [[tool, tmp_path / f'{name}.yaml', *more] for name in _TAGS]
    commands.append(['tools/train.py', tmp_path / 'apply.py'])
    for outcome in run_each(commands):
        assert not canary.exists(), outcome
        assert outcome.crash == '', outcome
        assert outcome.code == 1, outcome
        (line,) = [one for one in outcome.stderr.splitlines() if one.startswith('error: ')]
        assert 'python/' in line, line
