"""Resume at iteration 100,000 of 20,000 generated images: what is read, and how long it takes.

Example:
    python -m tests.campaigns.late_start

A few generated images are linked 20,000 times. A run of one iteration writes a checkpoint, whose
iteration is then changed to 100,000. The campaign prints, for a start at iteration 0 and at
iteration 100,000, the seconds from the end of building to the first batch, the seconds of the whole
command up to it, and the number of images that were read.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
IMAGES, ITERATION = 20_000, 100_000
BATCH = 7  # so that the iteration is in the middle of an epoch
CONFIG = """
_base_ = [{base!r}]
custom_imports = dict(imports=['mmconvnext', 'tests.campaigns.late_start'])
custom_hooks = [dict(type='mmconvnext.FirstBatchHook')]
train_dataloader = dict(batch_size={batch}, num_workers=0, persistent_workers=False)
train_cfg = dict({length}, val_begin=10**7)
default_hooks = dict(checkpoint=dict(interval=1, by_epoch=False))
"""
LENGTHS = {'segmentation': 'max_iters=200000', 'detection': 'max_epochs=100'}
MODELS = {'segmentation': 'upernet', 'detection': 'mask_rcnn'}


class Start(NamedTuple):
    """What happened before the first batch."""

    loading_seconds: float
    command_seconds: float
    images: int


@HOOKS.register_module(name='FirstBatchHook')
class FirstBatchHook(Hook):
    """Writes what happened before the first batch into ``FIRST_BATCH``, and ends the run."""

    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        self._begun, self._images = time.monotonic(), 0
        dataset = runner.train_dataloader.dataset
        read = dataset.prepare_data

        def counted(index: int) -> object:
            self._images += 1
            return read(index)

        dataset.prepare_data = counted

    def before_train_iter(self, runner, batch_idx: int, data_batch: object = None) -> None:
        seconds = time.monotonic() - self._begun
        Path(os.environ['FIRST_BATCH']).write_text(json.dumps([seconds, time.time(), self._images]))

    def after_train_iter(self, runner, *_: object, **__: object) -> None:
        sys.exit(0)


def start(config: Path, data: Path, *more: str) -> Start:
    """Start a run of the config up to the first iteration's end."""
    told = config.with_suffix('.json')
    train = [sys.executable, ROOT / 'tools/train.py', config, '--no-amp', *more]
    train += ['--work-dir', config.with_suffix(''), '--cfg-options', f'data_root={data}']
    begun = time.time()
    subprocess.run(
        train,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {'FIRST_BATCH': str(told), 'PYTHONPATH': str(ROOT)},
    )
    loading, reached, images = json.loads(told.read_text())
    return Start(loading, reached - begun, images)


def campaign(kind: str) -> tuple[Start, Start]:
    """The start at iteration 0, and the one at iteration 100,000."""
    with tempfile.TemporaryDirectory() as folder:
        data, config = Path(folder, 'data'), Path(folder, f'{kind}.py')
        make_images(data, kind)
        base = str(ROOT / f'configs/{MODELS[kind]}_convnext_atto_samples.py')
        config.write_text(CONFIG.format(base=base, batch=BATCH, length=LENGTHS[kind]))
        first = start(config, data)
        postdate(next(config.with_suffix('').glob('*_1.pth')))
        return first, start(config, data, '--resume')


def make_images(data: Path, kind: str) -> None:
    """Write the samples of ``tools/make_samples.py``, and link each many times."""
    few = 20
    make = [sys.executable, ROOT / 'tools/make_samples.py', data, '--kind', kind]
    subprocess.run(
        [*make, '--training', str(few), '--validation', '3'], check=True, capture_output=True
    )
    for folder in [place for place in data.rglob('*') if 'train' in place.name and place.is_dir()]:
        for file in sorted(folder.iterdir()):
            for copy in range(1, IMAGES // few):
                os.link(file, file.with_stem(f'{file.stem}_{copy}'))
    for file in data.glob('annotations/*train*.json'):
        file.write_text(json.dumps(_repeated(json.loads(file.read_text()), IMAGES // few)))


def _repeated(content: dict, times: int) -> dict:
    images, annotations = [], []
    for copy in range(times):
        for image in content['images']:
            name = Path(image['file_name'])
            name = name.with_stem(f'{name.stem}_{copy}') if copy else name
            images.append(image | {'id': image['id'] + copy * 10**6, 'file_name': str(name)})
        for one in content['annotations']:
            moved = {'id': one['id'] + copy * 10**6, 'image_id': one['image_id'] + copy * 10**6}
            annotations.append(one | moved)
    return content | {'images': images, 'annotations': annotations}


def postdate(checkpoint: Path) -> None:
    """Make the checkpoint one of iteration 100,000."""
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['iter'] = ITERATION
    if length := content['meta'].get('epoch_length'):
        content['meta']['epoch'] = ITERATION // length
    torch.save(content, checkpoint)


if __name__ == '__main__':
    for kind in MODELS:
        for name, found in zip(('iteration 0', f'iteration {ITERATION}'), campaign(kind)):
            print(f'{kind}, {name}: {found}', flush=True)
