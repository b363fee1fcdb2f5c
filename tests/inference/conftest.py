"""Predictors of random weights, without training."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.inference.model import Predictor, load_predictor
from tests.conftest import CONFIGS

SEGMENTATION = CONFIGS / 'upernet_convnext_atto_samples.py'
DETECTION = CONFIGS / 'mask_rcnn_convnext_atto_samples.py'


def write_checkpoint(config: Config, path: Path, meta: dict | None = None) -> Path:
    """A checkpoint of the config's model with random weights that see something in everything."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    model.init_weights()
    state = model.state_dict()
    for key in ('roi_head.bbox_head.fc_cls.weight', 'decode_head.conv_seg.weight'):
        if key in state:
            state[key] *= 20
    torch.save({'state_dict': state, 'meta': meta or {}}, path)
    return path


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    config = Config.fromfile(SEGMENTATION)
    path = tmp_path_factory.mktemp('segmentor') / 'a.pth'
    return load_predictor(config, str(write_checkpoint(config, path)))


@pytest.fixture(scope='session')
def detector(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    config = Config.fromfile(DETECTION)
    path = tmp_path_factory.mktemp('detector') / 'a.pth'
    return load_predictor(config, str(write_checkpoint(config, path)))
