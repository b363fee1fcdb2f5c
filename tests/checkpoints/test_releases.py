from pathlib import Path

import mmdet
import mmseg
import yaml

from mmconvnext.checkpoints.releases import RELEASES
from tests.conftest import CONFIGS


def test_every_config_is_there_and_says_the_paper_s_figures() -> None:
    for file, published in RELEASES.items():
        record = (CONFIGS / f'{published.config}.py').read_text()
        if published.publisher == 'the paper':
            assert file in record
            for value in (*published.results.values(), *published.augmented.values()):
                assert str(value) in record


def test_every_published_config_has_the_paper_s_model() -> None:
    configs = {p.stem for p in CONFIGS.glob('*.py') if 'Published model' in p.read_text()}
    assert configs == {p.config for p in RELEASES.values() if p.publisher == 'the paper'}


def read_models(package: object, file: str) -> dict[str, list[dict]]:
    """Results by name of the file, from a package's metafile."""
    path = Path(package.__path__[0], '.mim/configs/convnext', file)
    models = yaml.safe_load(path.read_text())['Models']
    return {model['Weights'].rsplit('/', 1)[1]: model['Results'] for model in models}


def published_by(publisher: str) -> dict[str, tuple[dict, dict]]:
    return {
        name: (dict(published.results), dict(published.augmented))
        for name, published in RELEASES.items()
        if published.publisher.startswith(publisher)
    }


def test_matches_mmseg_s_metafile() -> None:
    theirs = {
        name: ({'mIoU': r['Metrics']['mIoU']}, {'mIoU': r['Metrics']['mIoU(ms+flip)']})
        for name, r in read_models(mmseg, 'metafile.yaml').items()
    }
    assert published_by('mmseg') == theirs


def test_matches_mmdet_s_metafile() -> None:
    theirs = {}
    for name, results in read_models(mmdet, 'metafile.yml').items():
        metrics = {key: value for r in results for key, value in r['Metrics'].items()}
        results = {'coco/bbox_mAP': metrics['box AP'], 'coco/segm_mAP': metrics['mask AP']}
        theirs[name] = (results, {})
    assert published_by('mmdet') == theirs
