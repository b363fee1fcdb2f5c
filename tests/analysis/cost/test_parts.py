import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmconvnext.analysis.cost.complexity import build_on_meta, count
from mmconvnext.analysis.cost.parts import OTHER, STEM, count_parts
from tests.conftest import CONFIGS, SMALL

STAGES = [STEM, *(f'backbone stage {number}' for number in range(1, 5))]


@pytest.mark.parametrize(
    ('name', 'heads'),
    [
        ('upernet_convnext_t_ade20k', ['decode_head', 'auxiliary_head']),
        (
            'cascade_mask_rcnn_convnext_atto_samples',
            ['neck', 'rpn_head']
            + [f'{kind}_head {stage}' for kind in ('bbox', 'mask') for stage in (1, 2, 3)],
        ),
    ],
)
def test_parts_add_up_to_the_total(name: str, heads: list[str]) -> None:
    config = Config.fromfile(CONFIGS / f'{name}.py')
    parts = count_parts(build_on_meta(config), 96, 160)
    total = count(config, 96, 160)
    assert [*parts] == [*STAGES, *heads]
    assert sum(part.macs for part in parts.values()) == total.macs
    assert sum(part.parameters for part in parts.values()) == total.parameters
    assert {part for part, cost in parts.items() if not cost.macs} <= {'auxiliary_head'}


def test_a_stage_matches_the_closed_form(small_backbone) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = small_backbone(fast=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # Outside of any layer: it belongs to no part.
            return torch.mm(self.backbone(x)[0].flatten(1), torch.empty(8 * 64, 5, device='meta'))

    with torch.device('meta'):
        model = Model().eval()
    parts = count_parts(model, 32, 32)
    first, second, *_ = SMALL['channels']
    assert parts[STEM].macs == first * 3 * 16 * 64
    block = second * 49 + 8 * second * second
    assert parts['backbone stage 2'].macs == 16 * (first * second * 4 + block)
    # Downsampling with its norm; block with biases, norm and layer scale; output norm.
    down = 2 * first + 4 * first * second + second
    weights = 49 * second + second + 2 * second + 4 * second * (second + 1) + second
    weights += 4 * second * second + second
    assert parts['backbone stage 2'].parameters == down + weights + 2 * second
    assert parts[OTHER].macs == 8 * 64 * 5
