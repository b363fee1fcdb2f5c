import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmconvnext.command_line.overrides import override
from mmconvnext.errors import UserError
from mmconvnext.preflight import Summary, preflight
from mmconvnext.preflight.figure import draw_plots
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.heads import class_heads
from mmconvnext.preflight.report import as_json, verdict
from tests.conftest import CONFIGS


def load(root: Path) -> Config:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    override(config, {'data_root': str(root)})
    return config


def test_counts_what_is_there(samples: Path) -> None:
    told = []
    checked = preflight(load(samples), report=lambda *progress: told.append(progress))
    assert [(s.name, s.images, s.annotated) for s in checked.summaries] == [
        ('train', 8, 8),
        ('val', 4, 4),
    ], 'the test set is the validation set'
    assert told[-1] == ('val', 4, 4)
    files = sorted((samples / 'annotations' / 'training').glob('*.png'))
    labels = np.stack([np.array(Image.open(file)) for file in files])
    assert checked.summaries[0].counts == [int((labels == k).sum()) for k in range(1, 7)]
    assert verdict(checked).endswith('ready to train')
    assert as_json(checked)['errors'] == 0


@pytest.mark.parametrize(
    ('key', 'value', 'split', 'message'),
    [
        ('model.decode_head.pool_scales', 3, 'model', 'model: config: UPerHead could not be built'),
        ('val_dataloader.dataset.pipeline.1.type', 'Compose', 'val', 'val_dataloader.dataset.pipe'),
    ],
)
def test_what_cannot_be_built(samples: Path, key: str, value, split: str, message: str) -> None:
    config = load(samples)
    config.merge_from_dict({key: value})
    (found,) = preflight(config).findings.of('error')
    assert (found.kind, found.split) == ('not built', split)
    assert found.message.startswith(message)


def test_copies_and_leaks(samples: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(samples, tmp_path / 'set'))
    for kind, ending in (('images', 'jpg'), ('annotations', 'png')):
        folder = root / kind / 'training'
        first = folder / f'training_0000.{ending}'
        shutil.copy(first, folder / f'training_copy.{ending}')
        shutil.copy(first, root / kind / 'validation' / f'leak.{ending}')
    checked = preflight(load(root))
    found = {finding.kind: finding for finding in checked.findings.sorted()}
    assert (found['copies'].level, found['copies'].split) == ('warning', 'train')
    assert (found['leaks'].level, found['leaks'].split) == ('error', 'val'), 'one of five'
    assert 'leak.jpg = ' in found['leaks'].offenders[0]
    assert 'training_0000.jpg' in found['leaks'].offenders[0]
    assert 'would fail or be wrong' in verdict(checked)


def test_looks_into_wrappers(samples: Path) -> None:
    config = load(samples)
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(type='RepeatDataset', times=2, dataset=inner),
            dict(inner, img_suffix='.tif'),
        ],
    )
    checked = preflight(config)
    assert [summary.name for summary in checked.summaries] == ['train 1', 'train 2', 'val']
    assert [(f.split, f.kind) for f in checked.findings.of('error')] == [('train 2', 'no images')]


def test_a_data_set_that_cannot_be_built_is_a_finding(samples: Path) -> None:
    config = load(samples)
    config.train_dataloader.dataset.type = 'NoDataset'
    config.val_dataloader.dataset.surprise = 1
    found = preflight(config).findings.of('error')
    assert {(f.split, f.kind) for f in found} >= {
        ('train', 'dataset not built'),
        ('val', 'dataset not built'),
    }


def test_a_folder_that_is_not_there_is_a_finding(samples: Path) -> None:
    config = load(samples)
    config.test_dataloader.dataset.data_prefix.img_path = 'nowhere'
    found = preflight(config).findings.of('error')
    assert [(f.split, f.kind) for f in found] == [('test', 'data missing')]


@pytest.mark.parametrize(
    ('option', 'value', 'kind'),
    [
        ('model.decode_head.num_classes', 5, 'num_classes'),
        ('model.auxiliary_head', [dict(type='FCNHead', num_classes=150)], 'num_classes'),
        (
            'model.decode_head.loss_decode',
            [dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])],
            'class_weight',
        ),
    ],
)
def test_every_head_has_as_many_classes(option, value, kind: str, samples: Path) -> None:
    config = load(samples)
    config.merge_from_dict({option: value})
    (finding,) = preflight(config, open_files=False).findings.of('error')
    assert finding.kind == kind
    assert option in finding.message
    assert 'expected 6' in finding.message


def test_a_default_number_of_classes_is_told(samples: Path) -> None:
    config = load(samples)
    config.model.roi_head = dict(mask_head=dict(type='mmdet.FCNMaskHead'))
    (finding,) = preflight(config, open_files=False).findings.of('error')
    assert 'got 80 (the default of its type)' in finding.message


def test_finds_heads_in_lists_and_wrapped_models() -> None:
    heads = dict(bbox_head=[dict(a=1), dict(a=2)], mask_head=None)
    paths = [path for path, _ in class_heads(dict(module=dict(roi_head=heads)))]
    assert paths == [('module', 'roi_head', 'bbox_head', place) for place in (0, 1)]


def test_findings_keep_numbers_and_the_first_names() -> None:
    findings = Findings('train')
    findings.warning('few', 'a', range(9), 1000)
    findings.warning('many', 'b', range(990), 1000)
    findings.error('none', 'c', [])
    many, few = findings.sorted()
    assert (many.level, many.count, len(many.offenders)) == ('error', 990, 100)
    assert (few.level, few.count) == ('warning', 9)


@pytest.mark.parametrize('classes', [1, 6, 150])
def test_plots_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    names = tuple(f'猫 €$ and a rather long name {place}' for place in range(classes))
    counts = [0] * (classes // 2) + [10**place for place in range(classes - classes // 2)]
    summaries = [
        Summary('train', 'instances', names, 3, 3, counts, np.array([0.5, 9, 99]), Counter()),
        Summary('val', 'instances', names, 3, 3, counts[::-1], np.zeros(0), Counter({(4, 5): 3})),
    ]
    plots = draw_plots(summaries, tmp_path)
    assert [plot.name for plot in plots] == ['classes.png', 'sizes.png']
    assert all(np.array(Image.open(plot).convert('L')).std() > 1 for plot in plots)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['classes.png', 'sizes.png']


def test_plots_nothing_of_nothing(tmp_path: Path) -> None:
    assert draw_plots([Summary('train', 'pixels', ('a',))], tmp_path) == []


def test_refuses_what_it_cannot_check(tmp_path: Path) -> None:
    (tmp_path / 'train' / 'cat').mkdir(parents=True)
    loader = dict(dataset=dict(type='mmconvnext.ImageFolder', data_root=str(tmp_path)))
    config = Config(dict(model=dict(type='mmconvnext.ImageClassifier'), train_dataloader=loader))
    with pytest.raises(UserError, match=r'expected COCO json or label maps, got .*ImageF'):
        preflight(config)
