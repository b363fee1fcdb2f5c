"""Every command of the README and of the pages in docs/ runs, in the order of its page.

The folder it runs in has small configs under the names that the pages use, so that a command is
run as it stands there; only numbers (of processes, iterations, images) are smaller. Blocks marked
``sh`` need a network, a cluster or minutes: only their options are checked. So it is with
``make`` and ``pip``, which benchmarks/first_contact.py runs.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmconvnext import ConvNeXt
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.data.samples import write_segmentation_samples
from tests.conftest import ROOT

README = ROOT / 'README.md'
PAGES = [README, *sorted((ROOT / 'docs').glob('*.md'))]
SMALL_CONFIGS = {
    'upernet_convnext_t_ade20k': 'upernet_convnext_atto_samples',
    'mask_rcnn_convnext_t_coco': 'mask_rcnn_convnext_atto_samples',
    'cascade_mask_rcnn_convnext_b_in22k_coco': 'cascade_mask_rcnn_convnext_atto_samples',
}
SHORT = """
_base_ = {base!r}
train_dataloader = dict(batch_size=2)
train_cfg = dict({schedule})
default_hooks = dict(checkpoint=dict(interval=2))
"""
SMALLER = {
    r'--iters 2000': '--iters 2',
    r'iter_2000': 'iter_2',
    r'--epochs 12': '--epochs 1',
    r'epoch_12': 'epoch_1',
    r'--training \d+ --validation \d+': '--training 6 --validation 2',
    r'(dist_\w+\.sh \S+(?: \S+\.pth)?) \d': r'\1 1',
    r'10\.0\.0\.1': '127.0.0.1',
    r'NNODES=2 NODE_RANK=\d': 'NNODES=1 NODE_RANK=0',
    r'PORT=\d+ ': '',
}


def commands(page: Path, language: str) -> list[str]:
    blocks = re.findall(rf'```{language}\n(.*?)```', page.read_text(), re.S)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.fixture(scope='module')
def desk(tmp_path_factory, run_tool) -> Path:
    """A folder as the pages suppose it: tools, configs, data, weights and trained models."""
    desk = tmp_path_factory.mktemp('docs')
    (desk / 'tools').symlink_to(ROOT / 'tools')
    (desk / 'configs').mkdir()
    for name, small in SMALL_CONFIGS.items():
        schedule = 'max_iters=2, val_interval=2' if 'upernet' in name else 'max_epochs=1'
        text = SHORT.format(base=str(ROOT / 'configs' / f'{small}.py'), schedule=schedule)
        (desk / 'configs' / f'{name}.py').write_text(text)
    for folder in ('samples/segmentation', 'readme'):
        write_segmentation_samples(desk / 'data' / folder, training=4, validation=2)
    write_detection_samples(desk / 'data/samples/detection', training=4, validation=2)
    state = ConvNeXt('atto').state_dict()
    torch.save({'model': as_classifier(state)}, desk / 'convnext_tiny_1k_224.pth')
    config = 'configs/upernet_convnext_t_ade20k.py'
    trained = run_tool('tools/train.py', config, cwd=desk)
    assert trained.returncode == 0, trained.stderr
    folder = desk / 'work_dirs' / 'upernet_convnext_t_ade20k'
    shutil.copy(folder / 'iter_2.pth', desk / 'iter_160000.pth')
    shutil.move(folder / 'iter_2.pth', folder / 'iter_160000.pth')
    return desk


def as_classifier(state: dict) -> dict:
    """A backbone's tensors as those of an official classifier's file."""
    kept = {key: value for key, value in state.items() if not re.match(r'norm\d', key)}
    width = state['norm3.weight'].shape[0]
    norm = {'norm.weight': torch.ones(width), 'norm.bias': torch.zeros(width)}
    head = {'head.weight': torch.randn(1000, width), 'head.bias': torch.zeros(1000)}
    return kept | norm | head


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_run(page: Path, desk: Path, run_tool) -> None:
    for command in commands(page, 'bash'):
        if command.startswith(('make ', 'pip ')):
            continue
        if page == README:  # data/mine and mine.py are those of docs/segmentation.md
            command = re.sub(r'\bmine\b', 'readme', command)
        for pattern, smaller in SMALLER.items():
            command = re.sub(pattern, smaller, command)
        command = in_a_work_dir_of_its_own(command, desk)
        result = _run(command, desk, run_tool)
        assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'


def in_a_work_dir_of_its_own(command: str, desk: Path) -> str:
    """A training where one was before, which pages leave out: each is a command for itself."""
    trained = re.search(r'tools/(?:dist_train\.sh|train\.py) configs/(\w+)\.py', command)
    folder = desk / 'work_dirs' / trained[1] if trained else desk
    if not trained or '--resume' in command or not list(folder.glob('*.pth')):
        return command
    return f'{command} --work-dir work_dirs/{time.monotonic_ns()}'


def _run(command: str, desk: Path, run_tool) -> subprocess.CompletedProcess:
    words = shlex.split(command, comments=True)
    if words[0] == 'python':
        return run_tool(*words[1:], cwd=desk)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': port}
    return subprocess.run(
        ['bash', '-c', command],
        cwd=desk,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r'\]\((?!http)([^)]+)\)', page.read_text()):
        path, _, heading = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        if path.endswith('.py'):  # to lines: tests/studies/roadmap/test_page.py
            continue
        headings = re.findall(r'^#+ (.*)$', target.read_text(), re.M) if heading else []
        assert not heading or heading in {h.lower().replace(' ', '-') for h in headings}, link
