import importlib.util
import re
from types import ModuleType

import pytest
import yaml

from mmconvnext.checkpoints.pretrained import PRETRAINED
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def zoo() -> ModuleType:
    spec = importlib.util.spec_from_file_location('model_zoo', ROOT / 'docs/model_zoo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh(zoo: ModuleType) -> None:
    assert zoo.PAGE.read_text() == zoo.page(), 'run python docs/model_zoo.py'


def test_every_published_model_is_on_it(zoo: ModuleType) -> None:
    text = zoo.page()
    models = yaml.safe_load((ROOT / 'configs/metafile.yml').read_text())['Models']
    for model in models:
        assert (f'[{model["Name"]}]' in text) == bool(model.get('Results')), model['Name']
        assert model.get('Weights', '') in text
    assert re.findall(r'^\| `(\w+)`', text, re.MULTILINE) == list(PRETRAINED)
    assert 'CC BY-NC 4.0' in text
