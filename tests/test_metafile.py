"""model-index.yml and the metafile, against the configs and against published numbers."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmconvnext.analysis.complexity import count_detector, count_segmentor
from mmconvnext.checkpoints.published import PUBLISHED
from tests.conftest import CONFIGS, ROOT, SHARED

METAFILE = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
MODELS = {model['Name']: model for model in METAFILE['Models']}
WITH_RESULTS = [name for name in MODELS if 'Results' in MODELS[name]]
KINDS = {
    'mmconvnext.EncoderDecoder': 'UPerNet',
    'MaskRCNN': 'Mask R-CNN',
    'CascadeRCNN': 'Cascade Mask R-CNN',
}
# Optional: the papers' tables, copied from them by hand and apart from this project.
RECIPES = SHARED / 'reference' / 'recipes.md'


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
    assert set(WITH_RESULTS) == {name for name in MODELS if 'samples' not in name}


@pytest.mark.parametrize('name', MODELS)
def test_agrees_with_the_config(name: str) -> None:
    model = MODELS[name]
    config = Config.fromfile(ROOT / model['Config'])
    metadata = model['Metadata']
    if 'Epochs' in metadata:
        macs, parameters = count_detector(config, 800, 1280)
        assert metadata['Epochs'] == config.train_cfg.max_epochs
    else:
        crop = metadata['Crop Size']
        macs, parameters = count_segmentor(config, crop, 4 * crop)
        assert metadata['Iterations'] == config.train_cfg.max_iters
        assert config.model.data_preprocessor.size == (crop, crop)
        assert config.model.test_cfg.get('crop_size', (crop, crop)) == (crop, crop)
    if name in WITH_RESULTS:
        assert metadata['Batch Size'] == config.auto_scale_lr.base_batch_size
    else:
        assert metadata['Batch Size'] == config.train_dataloader.batch_size
    assert metadata['Parameters'] == parameters
    assert metadata.get('GMACs', round(macs / 1e9, 1)) == round(macs / 1e9, 1)
    init = config.model.backbone.get('init_cfg') or {}
    assert metadata.get('Starts From') == init.get('checkpoint')
    backbone, kind = metadata['Architecture']
    version, size = backbone.rsplit('-', 1)
    assert config.model.backbone.arch.startswith(size.lower())
    assert (version == 'ConvNeXt V2') == config.model.backbone.get('use_grn', False)
    assert kind == KINDS[config.model.type]
    mixed = config.optim_wrapper.type == 'AmpOptimWrapper'
    assert metadata['Precision'] == ('mixed' if mixed else 'float32')


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
    )
    for value in metrics(model).values():
        assert str(value) in record


def test_weights_are_the_trained_models_that_were_published() -> None:
    """Not the backbone's: mmengine's inferencers would run a model of noise with those."""
    theirs = {p.config: file for file, p in PUBLISHED.items() if p.publisher == 'the paper'}
    ours = {name: model['Weights'] for name, model in MODELS.items() if 'Weights' in model}
    assert {name: url.rsplit('/', 1)[1] for name, url in ours.items()} == theirs
    for name, url in ours.items():
        assert url in (CONFIGS / f'{name}.py').read_text()
        assert 'facebookresearch/ConvNeXt/tree/048efce' in MODELS[name]['Converted From']['Code']


def test_readme_s_tables_say_the_same() -> None:
    readme = (ROOT / 'README.md').read_text()
    rows = dict(re.findall(r'^\| \[(\w+)\]\(configs/[^|]*(.*)', readme, re.M))
    assert sorted(rows) == sorted(WITH_RESULTS)
    for name, row in rows.items():
        cells = [cell.strip() for cell in row.split('|')]
        model = MODELS[name]
        assert f'{model["Metadata"]["Parameters"] / 1e6:.2f}' in cells
        assert str(model['Metadata']['GMACs']) in cells
        assert {str(value) for value in metrics(model).values()} <= set(cells)


def metrics(model: Mapping) -> dict[str, float]:
    return {key: value for r in model['Results'] for key, value in r['Metrics'].items()}


def section(title: str) -> str:
    return re.search(rf'^## {re.escape(title)}.*?(?=^## |\Z)', RECIPES.read_text(), re.M | re.S)[0]


def table_row(title: str, label: str) -> list[str]:
    row = re.search(rf'^\| {re.escape(label)} \|(.*)\|$', section(title), re.M)[1]
    return [cell.strip() for cell in row.split('|')]


def published_v1(kind: str, size: str) -> tuple[list[float], float, float]:
    """Results, parameters in millions and GMACs, to the digits that the paper prints."""
    if kind == 'upernet':
        scores, parameters, macs = table_row('ADE20K', f'ConvNeXt-{size}')[1:]
        scores = scores.split('/')
    else:
        label = {'mask_rcnn': 'Mask R-CNN', 'cascade_mask_rcnn': 'Cascade'}[kind]
        parameters, macs, _, *aps = table_row('COCO', f'{label} ConvNeXt-{size}')
        scores = [ap.split('/')[0] for ap in aps]
    return [float(score) for score in scores], float(parameters.strip('M')), float(macs.strip('G'))


def published_v2(kind: str, size: str) -> tuple[list[float], None, float | None]:
    coco, ade20k = section('ConvNeXt V2').split('ADE20K UperNet')
    if kind == 'upernet':
        return [float(re.search(rf'\b{size} (\d\d\.\d)', ade20k)[1])], None, None
    scores = re.search(rf'\b{size} FCMAE ([\d.]+)/([\d.]+)', coco).groups()
    macs = re.search(r'FLOPs (\d+) / (\d+) / (\d+) G', coco).groups()
    return [float(score) for score in scores], None, float(macs['BLH'.index(size)])


@pytest.mark.skipif(not RECIPES.is_file(), reason=f'no table of published numbers in {RECIPES}')
@pytest.mark.parametrize('name', WITH_RESULTS)
def test_matches_the_papers_tables(name: str) -> None:
    kind, v2, size, big = re.match(r'(\w+)_convnext(v2)?_([a-z]+)(_in22k)?_', name).groups()
    size = size.upper()
    metadata = MODELS[name]['Metadata']
    if v2:
        scores, parameters, macs = published_v2(kind, size)
    else:
        scores, parameters, macs = published_v1(kind, size + (' 22K' if big else ''))
    assert list(metrics(MODELS[name]).values()) == scores
    if parameters is not None:
        assert metadata['Parameters'] / 1e6 == pytest.approx(parameters, abs=0.6)
    assert metadata.get('Published Parameters (M)') == parameters
    assert metadata.get('Published GFLOPs') == macs
    if macs is not None:  # the paper rounds, mostly up
        assert metadata['GMACs'] == pytest.approx(macs, abs=1)


EXACT = 'Model size and compute that a correct build must reproduce'
LABELS = {
    'mask_rcnn': 'Mask R-CNN 1280×800',
    'cascade_mask_rcnn': 'Cascade Mask R-CNN 1280×800',
    512: 'UperNet 2048×512',
    640: 'UperNet 2560×640',
}


@pytest.mark.skipif(not RECIPES.is_file(), reason=f'no table of published numbers in {RECIPES}')
@pytest.mark.parametrize('name', WITH_RESULTS)
def test_matches_the_table_of_sizes(name: str) -> None:
    kind, v2, size = re.match(r'(\w+)_convnext(v2)?_([a-z]+)', name).groups()
    metadata = MODELS[name]['Metadata']
    column = ['T', 'S', 'B', 'L', 'XL', 'H'].index(size.upper())
    macs = table_row(EXACT, LABELS[metadata.get('Crop Size', kind)])[column]
    assert metadata['GMACs'] == pytest.approx(float(macs), abs=0.11)
    if kind == 'upernet' and (size == 'h' or not v2):
        parameters = float(table_row(EXACT, 'UperNet params, M')[column])
        assert round(metadata['Parameters'] / 1e6, 2) == parameters
