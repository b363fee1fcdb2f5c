"""model-index.yml and the metafile, against the configs and against published numbers."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

from mmconvnext.analysis.cost.complexity import (
    Complexity,
    build_on_meta,
    count,
    count_macs,
    count_parameters,
)
from mmconvnext.checkpoints.releases import RELEASES
from mmconvnext.studies.roadmap.results import PUBLISHED as RESULTS_OF_STEPS
from tests.conftest import CONFIGS, ROOT
from tests.reference import by_config

METAFILE = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
MODELS = {model['Name']: model for model in METAFILE['Models']}
WITH_RESULTS = [name for name in MODELS if 'Results' in MODELS[name]]
KINDS = {
    'mmconvnext.EncoderDecoder': 'UPerNet',
    'mmconvnext.MaskRCNN': 'Mask R-CNN',
    'mmconvnext.CascadeRCNN': 'Cascade Mask R-CNN',
    'mmconvnext.ImageClassifier': 'Linear Classifier',
}
# Nobody published results of these.
WITHOUT_RESULTS = {'upernet_roadmap_ade20k', 'mask_rcnn_roadmap_coco'}
LAST_STEPS = {'resnet50': 'tiny', 'resnet200': 'base'}


def test_index_imports_the_metafile() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index == {'Import': ['configs/metafile.yml']}


def test_every_config_is_there_once() -> None:
    assert sorted(m['Name'] for m in METAFILE['Models']) == sorted(
        path.stem for path in CONFIGS.glob('*.py')
    )
    collections = {collection['Name'] for collection in METAFILE['Collections']}
    for name, model in MODELS.items():
        assert model['In Collection'] in collections
        assert model['Config'] == f'configs/{name}.py'
    published = {name for name in MODELS if 'samples' not in name} - WITHOUT_RESULTS
    assert set(WITH_RESULTS) == published


@pytest.mark.parametrize('name', MODELS)
def test_agrees_with_the_config(name: str) -> None:
    model = MODELS[name]
    config = Config.fromfile(ROOT / model['Config'])
    metadata = model['Metadata']
    digits = 1
    if 'Epochs' in metadata:
        assert metadata['Epochs'] == config.train_cfg.max_epochs
    if 'Input Size' in metadata:
        size, digits = metadata['Input Size'], 2
        macs, parameters = count_classifier(config, size)
        assert name not in WITH_RESULTS or side_of_the_test(config) == size
    elif 'Epochs' in metadata:
        macs, parameters = count(config, 800, 1280)
    else:
        crop = metadata['Crop Size']
        macs, parameters = count(config, crop, 4 * crop)
        assert metadata['Iterations'] == config.train_cfg.max_iters
        assert config.model.data_preprocessor.size == (crop, crop)
        assert config.model.test_cfg.get('crop_size', (crop, crop)) == (crop, crop)
    if 'samples' not in name:
        accumulated = config.optim_wrapper.get('accumulative_counts', 1)
        assert metadata['Batch Size'] == config.auto_scale_lr.base_batch_size * accumulated
    else:
        assert metadata['Batch Size'] == config.train_dataloader.batch_size
    assert metadata['Parameters'] == parameters
    assert metadata.get('GMACs', round(macs / 1e9, digits)) == round(macs / 1e9, digits)
    init = config.model.backbone.get('init_cfg') or {}
    assert metadata.get('Starts From') == init.get('checkpoint')
    backbone, kind = metadata['Architecture']
    version, size = backbone.rsplit('-', 1)
    arch = config.model.backbone.get('arch') or LAST_STEPS[config.model.backbone.regime]
    assert arch.startswith(size.lower())
    assert (version == 'ConvNeXt V2') == config.model.backbone.get('use_grn', False)
    assert kind == KINDS[config.model.type]
    mixed = config.optim_wrapper.type == 'AmpOptimWrapper'
    assert metadata['Precision'] == ('mixed' if mixed else 'float32')


def count_classifier(config: Config, size: int) -> Complexity:
    model = build_on_meta(config)
    picture = torch.empty(1, 3, size, size, device='meta')
    return Complexity(count_macs(model, picture), count_parameters(model))


def side_of_the_test(config: Config) -> int:
    (crop,) = (
        step
        for step in config.test_dataloader.dataset.pipeline
        if step.type == 'mmconvnext.EvaluationCrop'
    )
    return crop.size


@pytest.mark.parametrize('name', WITH_RESULTS)
def test_results_are_marked_as_the_paper_s(name: str) -> None:
    model = MODELS[name]
    record = ' '.join(Path(ROOT / model['Config']).read_text().split())
    paper, caveat = model['Metadata']['Published By'].split('; ')
    assert caveat == 'not reproduced here'
    assert paper in record
    assert 'GMACs' in model['Metadata']
    (collection,) = (c for c in METAFILE['Collections'] if c['Name'] == model['In Collection'])
    assert collection['Paper'].endswith(paper.removeprefix('arXiv ').split(',')[0])
    assert {r['Task'] for r in model['Results']} in (
        {'Semantic Segmentation'},
        {'Object Detection', 'Instance Segmentation'},
        {'Image Classification'},
    )


# What a config's docstring says, by its words.
SAID = {
    'mIoU': r'mIoU ([\d.]+) single-scale',
    'mIoU(ms+flip)': r'([\d.]+) multi-scale \+ flip',
    'box AP': r'box AP ([\d.]+)',
    'mask AP': r'mask AP ([\d.]+)',
    'Top 1 Accuracy': r'top-1 ([\d.]+)',
    'Published Parameters (M)': r'([\d.]+)M parameters',
    'Published GFLOPs': r'([\d.]+)G FLOPs',
}


@pytest.mark.parametrize('name', WITH_RESULTS)
def test_the_config_s_docstring_says_the_same(name: str) -> None:
    record = ' '.join(ast.get_docstring(ast.parse((CONFIGS / f'{name}.py').read_text())).split())
    (sentence,) = re.findall(r'Published: (.*?) \(arXiv', record)
    said = {key: re.search(words, sentence) for key, words in SAID.items()}
    metadata = MODELS[name]['Metadata']
    printed = {key: metadata[key] for key in SAID if key in metadata}
    assert {key: float(found[1]) for key, found in said.items() if found} == {
        **metrics(MODELS[name]),
        **printed,
    }
    for computed in re.findall(r'MACs at [\d×]+: (\d+)G, computed', record):
        assert int(computed) == round(metadata['GMACs'])


def test_weights_are_the_trained_models_that_were_published() -> None:
    """Not the backbone's: mmengine's inferencers would run a model of noise with those."""
    theirs = {p.config: file for file, p in RELEASES.items() if p.publisher == 'the paper'}
    ours = {name: model['Weights'] for name, model in MODELS.items() if 'Weights' in model}
    assert {name: url.rsplit('/', 1)[1] for name, url in ours.items()} == theirs
    for name, url in ours.items():
        assert url in (CONFIGS / f'{name}.py').read_text()
        v2 = MODELS[name]['In Collection'] == 'ConvNeXt V2'
        code = 'ConvNeXt-V2/tree/1e48272' if v2 else 'ConvNeXt/tree/048efce'
        assert f'facebookresearch/{code}' in MODELS[name]['Converted From']['Code']


def test_readme_s_table_says_the_same() -> None:
    """Every cell of it; the page of all models is written from the metafile."""
    readme = (ROOT / 'README.md').read_text()
    (rows,) = re.findall(r'^\| config .*\n\|[-|]+\n((?:\|.*\n)+)', readme, re.M)
    cells = (
        r'\[(\w+)\]\(configs/\1\.py\)',
        r'(.*)',
        r'(.*) ([\d.]+)',
        r'\[(V\d)\]',
        r'\[file\]\((.*)\)',
    )
    pattern = r'\| ' + r' \| '.join(cells) + r' \|'
    assert len(rows.splitlines()) == 5
    for row in rows.splitlines():
        name, data, metric, value, publisher, weights = re.fullmatch(pattern, row).groups()
        key = {'top-1': 'Top 1 Accuracy'}.get(metric, metric)
        assert metrics(MODELS[name])[key] == float(value)
        assert weights == MODELS[name]['Weights']
        assert data in {result['Dataset'] for result in MODELS[name]['Results']}
        assert (publisher == 'V2') == (MODELS[name]['In Collection'] == 'ConvNeXt V2')
    assert f'Five of the {len(WITH_RESULTS)} in' in readme


def metrics(model: Mapping) -> dict[str, float]:
    return {key: value for r in model['Results'] for key, value in r['Metrics'].items()}


REFERENCE = by_config('ade20k', 'coco', 'imagenet')
COSTS = by_config('costs')


def test_every_result_is_held_against_a_table() -> None:
    assert set(REFERENCE) == {name for name in WITH_RESULTS if not name.startswith('roadmap')}
    assert {name for name in WITH_RESULTS if '_in1k' not in name} <= set(COSTS)


@pytest.mark.parametrize('name', REFERENCE)
def test_matches_the_tables_of_the_papers(name: str) -> None:
    row, metadata = REFERENCE[name], MODELS[name]['Metadata']
    assert metrics(MODELS[name]) == {key: row[key] for key in SAID if row.get(key) is not None}
    assert metadata.get('Crop Size') == row.get('crop')
    assert metadata.get('Input Size') == row.get('side')
    assert metadata.get('Published Parameters (M)') == row['parameters_m']
    assert metadata.get('Published GFLOPs') == row['gflops']
    if row['parameters_m']:
        assert metadata['Parameters'] / 1e6 == pytest.approx(row['parameters_m'], abs=0.6)
    if row['gflops']:
        # Rounded, mostly up. ConvNeXt-B at 384²: 45.12 counted, 45.0 printed.
        slack = 0.13 if 'side' in row else 1
        assert metadata['GMACs'] == pytest.approx(row['gflops'], abs=slack)


@pytest.mark.parametrize('name', COSTS)
def test_matches_the_table_of_costs(name: str) -> None:
    row, metadata = COSTS[name], MODELS[name]['Metadata']
    if row['gmacs']:
        assert metadata['GMACs'] == pytest.approx(row['gmacs'], abs=0.06)
    assert row['parameters_m'] in (None, round(metadata['Parameters'] / 1e6, 2))


@pytest.mark.parametrize('regime', RESULTS_OF_STEPS)
def test_roadmap_s_result_is_that_of_its_last_step(regime: str) -> None:
    name, step = f'roadmap_{regime}_in1k', 'separate_downsampling'
    assert metrics(MODELS[name]) == {'Top 1 Accuracy': RESULTS_OF_STEPS[regime][step].top1}
    assert Config.fromfile(CONFIGS / f'{name}.py').model.backbone.step == step
