from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmconvnext import LayerLearningRatesHook


def run(groups: list[dict]) -> MessageHub:
    hub = MessageHub(f'hub{id(groups)}')
    hub.update_scalar('train/base_lr', 99.0)  # mmengine's own
    wrapper = SimpleNamespace(param_groups=groups)
    LayerLearningRatesHook().before_train_iter(
        SimpleNamespace(optim_wrapper=wrapper, message_hub=hub), 0
    )
    return hub


def test_logs_the_heads_and_the_stem_s() -> None:
    hub = run([{'lr': 1e-4, 'lr_scale': 1.0}, {'lr': 2e-5, 'lr_scale': 0.2}, {'lr': 3.0}])
    assert hub.get_scalar('train/base_lr').current() == 1e-4
    assert hub.get_scalar('train/stem_lr').current() == 2e-5


def test_custom_multipliers_are_no_part_of_the_base() -> None:
    hub = run([{'lr': 1e-3, 'lr_scale': 1.0, 'lr_mult': 10.0}, {'lr': 2e-5, 'lr_scale': 0.2}])
    assert hub.get_scalar('train/base_lr').current() == pytest.approx(1e-4)


def test_frozen_by_a_multiplier_of_zero_is_left_out() -> None:
    hub = run([{'lr': 0.0, 'lr_scale': 1.0, 'lr_mult': 0.0}, {'lr': 1e-5, 'lr_scale': 0.1}])
    assert hub.get_scalar('train/base_lr').current() == pytest.approx(1e-4)
    assert hub.get_scalar('train/stem_lr').current() == 1e-5


def test_logs_nothing_without_layer_decay() -> None:
    hub = run([{'lr': 1e-4}])
    assert 'train/stem_lr' not in hub.log_scalars
    assert hub.get_scalar('train/base_lr').current() == 99.0
