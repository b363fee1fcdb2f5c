import copy

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmconvnext.analysis.cost.activation_memory import count_kept_memory, kept_bytes
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS

SEGMENTOR = CONFIGS / 'upernet_convnext_atto_samples.py'
DETECTOR = CONFIGS / 'mask_rcnn_convnext_atto_samples.py'


def test_kept_bytes_match_the_closed_form() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.Sigmoid(), nn.Linear(7, 3))
    x = torch.randn(11, 5)
    # The input of the first layer and the sigmoid's output, which is the second layer's input.
    assert kept_bytes(lambda: model(x), model.parameters()) == 4 * 11 * (5 + 7)
    with torch.no_grad():
        assert kept_bytes(lambda: model(x), model.parameters()) == 0


def test_what_is_given_up_again_does_not_count() -> None:
    x = torch.randn(100, requires_grad=True)

    def step() -> torch.Tensor:
        x.exp().sin()
        return x[:10].exp()

    assert kept_bytes(step, [x]) == 4 * 10


def bytes_of_a_real_step(config: Config, fast: bool) -> int:
    """What mmseg's own training step keeps of real tensors."""
    init_default_scope('mmseg')
    model = MODELS.build(ConfigDict(copy.deepcopy(config.model), fast=fast)).train()
    batch, (height, width) = config.train_dataloader.batch_size, config.crop
    labels = torch.zeros(batch, 1, height, width, dtype=torch.long)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one)) for one in labels]
    image = torch.randn(batch, 3, height, width)
    return kept_bytes(lambda: model.loss(image, samples), model.parameters())


def test_segmentor_matches_a_real_step() -> None:
    config = Config.fromfile(SEGMENTOR)
    config.train_dataloader.batch_size = 2
    config.crop = (64, 96)
    kept = count_kept_memory(config, *config.crop)
    assert (kept.batch_size, kept.height, kept.width) == (2, 64, 96)
    assert kept.fast == bytes_of_a_real_step(config, fast=True)
    assert kept.plain == bytes_of_a_real_step(config, fast=False)
    assert kept.fast < 0.7 * kept.plain


def test_detector_counts_its_samplers_rois() -> None:
    config = Config.fromfile(DETECTOR)
    few = count_kept_memory(config, 64, 64)
    config.model.train_cfg.rcnn.sampler.num *= 2
    more = count_kept_memory(config, 64, 64)
    assert few.fast < few.plain
    # Twice as many RoIs are a matter of the heads, which have no fast path.
    assert more.fast - few.fast == more.plain - few.plain > 0


def test_what_cannot_be_counted_says_why() -> None:
    config = Config.fromfile(SEGMENTOR)
    config.model.backbone.with_cp = True
    with pytest.raises(UserError, match='with_cp'):
        count_kept_memory(config, 64, 64)
    config = Config(dict(model=dict(type='mmconvnext.ConvNeXt', arch='atto')))
    with pytest.raises(UserError):
        count_kept_memory(config, 64, 64)
