from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmseg.models.segmentors import SegTTAModel

from mmconvnext.errors import CheckpointError
from mmconvnext.hooks import StrictLoadingHook


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)

    def forward(self, inputs):
        return self.layer(inputs)


@pytest.mark.parametrize('wrap', [lambda m: m, SegTTAModel], ids=['plain', 'tta'])
def test_only_a_complete_checkpoint_passes(wrap) -> None:
    model = Model()
    runner = SimpleNamespace(model=wrap(model))
    state = model.state_dict()
    StrictLoadingHook().after_load_checkpoint(runner, {'state_dict': dict(state)})
    del state['layer.bias']
    with pytest.raises(CheckpointError, match=r'does not fit the model: 1 missing: layer\.bias'):
        StrictLoadingHook().after_load_checkpoint(runner, {'state_dict': dict(state)})
