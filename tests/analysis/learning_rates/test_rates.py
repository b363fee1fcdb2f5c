import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from mmconvnext.analysis.learning_rates.rates import Rates, count_rates, explain, layer_names
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS, SMALL

SEGMENTOR = CONFIGS / 'upernet_convnext_t_ade20k.py'


def small(**paramwise: object) -> Config:
    """The samples' segmentor of a few parameters."""
    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    config.model.backbone.arch = dict(SMALL)
    config.optim_wrapper.paramwise_cfg = dict(decay_rate=0.9, **paramwise)
    return config


def rates_by_name(rates: Rates) -> dict[str, tuple[float, float]]:
    return {name: (one.lr, one.weight_decay) for one in rates.groups for name in one.names}


@pytest.mark.parametrize('decay_type', ['stage_wise', 'layer_wise'])
@pytest.mark.parametrize(
    'constructor',
    [
        'mmconvnext.LayerDecayOptimWrapperConstructor',
        'mmseg.LearningRateDecayOptimizerConstructor',
        'mmdet.LearningRateDecayOptimizerConstructor',
    ],
)
def test_matches_the_actual_optimizer(constructor: str, decay_type: str) -> None:
    config = small(decay_type=decay_type, num_layers=6)
    config.optim_wrapper.constructor = constructor
    rates = count_rates(config)
    init_default_scope('mmseg')
    model = MODELS.build(config.model)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    names = {parameter: name for name, parameter in model.named_parameters()}
    expected = {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert rates_by_name(rates) == expected
    assert sum(one.parameters for one in rates.groups) == sum(x.numel() for x in names)
    assert [one.layer for one in rates.groups] == sorted(one.layer for one in rates.groups)


def test_layers_match_the_closed_form() -> None:
    rates = count_rates(Config.fromfile(SEGMENTOR))
    assert rates.base_lr == 1e-4
    for group in rates.groups:
        assert group.lr == pytest.approx(1e-4 * 0.9 ** (7 - group.layer))
    shown = {one.layer: layer_names(rates.groups, one) for one in rates.groups if one.weight_decay}
    assert shown[0] == ['backbone.downsample_layers']
    assert shown[3] == ['backbone.stages.2']
    assert shown[7] == ['decode_head', 'auxiliary_head']


def test_neighbouring_blocks_are_put_together() -> None:
    rates = count_rates(Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py'))
    shown = {one.layer: layer_names(rates.groups, one) for one in rates.groups}
    assert shown[3] == ['backbone.downsample_layers.2', 'backbone.stages.2.0-2']
    assert shown[4] == ['backbone.stages.2.3-5']


def test_no_layer_decay_is_one_rate() -> None:
    config = small()
    del config.optim_wrapper['constructor'], config.optim_wrapper['paramwise_cfg']
    (group,) = count_rates(config).groups
    assert (group.layer, group.lr, group.weight_decay) == (None, 2e-3, 0.05)
    assert layer_names([group], group) == ['backbone', 'decode_head']
    assert 'does not depend on the layer id' in explain(config, count_rates(config))
    config.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.0)
    plain, decayed = count_rates(config).groups
    assert (plain.weight_decay, decayed.weight_decay) == (0, 0.05)
    assert 'backbone.stages.*.*.norm' in layer_names([plain, decayed], plain)


def test_explains_each_kind_with_their_numbers() -> None:
    stage_wise = Config.fromfile(SEGMENTOR)
    told = explain(stage_wise, count_rates(stage_wise))
    assert "decay_type='stage_wise'" in told
    assert 'num_layers=6 puts the heads at id 7' in told
    assert '0.9^7 = 0.478' in told
    assert '0.9^3 = 0.729' in told
    layer_wise = Config.fromfile(CONFIGS / 'cascade_mask_rcnn_convnext_b_coco.py')
    told = explain(layer_wise, count_rates(layer_wise))
    assert 'the fourth stage 12; num_layers=12 puts the heads at id 13' in told
    assert '0.8^13 = 0.055 and the last stage at 0.8^1 = 0.8' in told
    block_wise = Config.fromfile(CONFIGS / 'convnextv2_t_in1k.py')
    told = explain(block_wise, count_rates(block_wise))
    assert 'every block an id of its own, 1 to 18, and the stem 1; the heads have id 19' in told
    assert '0.9^18 = 0.15 and the last block at 0.9^1 = 0.9' in told


def test_a_batch_size_scales_and_a_frozen_parameter_is_left_out() -> None:
    config = small()
    config.auto_scale_lr = dict(enable=True, base_batch_size=16)  # 8 images × 4 processes
    rates = count_rates(config, processes=4)
    assert rates.factor == 2
    assert rates.base_lr == 2 * 2e-3 == max(one.lr for one in rates.groups)
    config.model.backbone.frozen_stages = 1
    assert 'backbone.downsample_layers.0.0.weight' in count_rates(config).left_out


def test_an_unusual_num_layers_is_a_notice() -> None:
    (notice,) = count_rates(small(num_layers=12)).notices
    assert 'num_layers=12 does not suit depths' in notice


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(optimizer=dict(type='Adamm', lr=1.0)), 'Adamm'),
        (dict(constructor='None'), 'cannot be'),
        (dict(paramwise_cfg=dict(decay_rate=2)), 'decay_rate in'),
    ],
)
def test_a_wrong_optimizer_is_one_line(change: dict, words: str) -> None:
    config = small()
    config.optim_wrapper.update(change)
    with pytest.raises(UserError, match=words) as caught:
        count_rates(config)
    assert '\n' not in str(caught.value)


def test_several_optimizers_are_refused() -> None:
    config = small()
    config.optim_wrapper = dict(generator=dict(), discriminator=dict())
    with pytest.raises(UserError, match=r'expected one optimizer .* got generator, discriminator'):
        count_rates(config)


def test_a_sharded_optimizer_has_the_rates_of_its_parts() -> None:
    config = small()
    expected = rates_by_name(count_rates(config))
    sharded = dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW')
    config.optim_wrapper.optimizer.update(sharded, parameters_as_bucket_view=True)
    assert rates_by_name(count_rates(config)) == expected
