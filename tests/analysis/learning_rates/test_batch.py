"""Plans for GPUs: the images of a step and the schedule stay as published."""

import numpy as np
import pytest
from mmengine.config import Config

from mmconvnext.analysis.learning_rates.batch import plan_batch
from mmconvnext.analysis.learning_rates.plan import make_plan
from mmconvnext.command_line.overrides import override
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS, SMALL

SEGMENTOR = CONFIGS / 'upernet_convnext_t_ade20k.py'  # 16 images
CLASSIFIER = CONFIGS / 'convnext_l_in1k.py'  # 512 images × 8 iterations


@pytest.mark.parametrize(
    ('config', 'gpus', 'batch', 'accumulation', 'effective', 'scales'),
    [
        (SEGMENTOR, 8, 2, 1, 16, False),
        (SEGMENTOR, 1, 2, 8, 16, False),
        (SEGMENTOR, 1, 3, 5, 15, False),  # by the rate itself: --auto-scale-lr ignores accumulation
        (SEGMENTOR, 3, 4, 1, 12, True),
        (SEGMENTOR, 8, 4, 1, 32, True),
        (CLASSIFIER, 4, 64, 16, 4096, False),
        (CLASSIFIER, 128, 64, 1, 8192, False),
        (CLASSIFIER, 8, 63, 8, 4032, True),
    ],
)
def test_reaches_the_published_images_or_the_nearest_below(
    config, gpus: int, batch: int, accumulation: int, effective: int, scales: bool
) -> None:
    content = Config.fromfile(config)
    lr = content.optim_wrapper.optimizer.lr
    plan = plan_batch(content, gpus, batch)
    assert (plan.accumulation, plan.effective) == (accumulation, effective)
    assert plan.auto_scale_lr == scales
    override(content, plan.options)
    # The rate of mmengine, Runner.scale_lr, with --auto-scale-lr.
    factor = gpus * batch / content.auto_scale_lr.base_batch_size if scales else 1
    rate = content.optim_wrapper.optimizer.lr * factor
    assert rate == pytest.approx(lr * effective / plan.published)
    assert content.train_dataloader.batch_size == batch
    assert content.optim_wrapper.get('accumulative_counts', 1) == accumulation
    if config == CLASSIFIER:
        assert content.custom_hooks[1].interval == accumulation
        assert content.train_cfg.max_epochs == 300


@pytest.mark.parametrize(('gpus', 'batch', 'slower'), [(2, 2, 2), (1, 4, 2), (1, 1, 8)])
def test_the_schedule_is_the_same_over_images(gpus: int, batch: int, slower: int) -> None:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')  # 8 images
    config.model.backbone.arch = dict(SMALL)
    before = make_plan(config).schedule.rates
    override(config, plan_batch(config, gpus, batch).options)
    plan = make_plan(config, processes=gpus)
    assert plan.length.iterations == 800 * slower
    np.testing.assert_allclose(plan.schedule.rates[:, ::slower], before, rtol=1e-9)
    assert config.train_cfg.val_interval == 400 * slower
    assert config.default_hooks.checkpoint.interval == 400 * slower


def test_ends_at_zero_if_iterations_are_rounded() -> None:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    config.param_scheduler = config.param_scheduler[1]
    options = plan_batch(config, 1, 3).options
    assert options['train_cfg.max_iters'] == 2134  # 800 × 8 ÷ 3
    assert options['param_scheduler.end'] == 2135


def test_scaling_by_the_config_is_turned_off() -> None:
    config = Config.fromfile(SEGMENTOR)
    config.auto_scale_lr.enable = True
    assert plan_batch(config, 1, 2).options['auto_scale_lr.enable'] is False


def test_configs_without_a_published_batch_are_refused() -> None:
    with pytest.raises(UserError, match=r'auto_scale_lr: expected base_batch_size in the config'):
        plan_batch(Config(dict()), 1, 2)
    with pytest.raises(UserError, match=r'optim_wrapper: expected one optimizer'):
        plan_batch(Config(dict(auto_scale_lr=dict(base_batch_size=16))), 1, 2)
