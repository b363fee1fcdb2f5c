import mmseg
import yaml

from mmconvnext.checkpoints.published import SEGMENTORS
from tests.conftest import CONFIGS


def test_every_config_is_there_and_says_the_paper_s_figures() -> None:
    for published in SEGMENTORS.values():
        record = (CONFIGS / f'{published.config}.py').read_text()
        if published.publisher == 'the paper':
            assert str(published.single_scale) in record
            assert str(published.multi_scale) in record


def test_matches_mmseg_s_metafile() -> None:
    path = f'{mmseg.__path__[0]}/.mim/configs/convnext/metafile.yaml'
    with open(path) as file:
        models = yaml.safe_load(file)['Models']
    theirs = {model['Weights'].rsplit('/', 1)[1]: model['Results']['Metrics'] for model in models}
    ours = {name: p for name, p in SEGMENTORS.items() if p.publisher.startswith('mmseg')}
    assert ours.keys() == theirs.keys()
    for name, published in ours.items():
        assert theirs[name]['mIoU'] == published.single_scale
        assert theirs[name]['mIoU(ms+flip)'] == published.multi_scale
