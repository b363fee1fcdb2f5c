import pytest
from mmengine.config import Config

from mmconvnext.custom_dataset.schedule import Length, plan
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_the_rate_follows_the_batch_size() -> None:
    schedule = plan(load('upernet_convnext_t_ade20k'), 1000, 4, 2, Length())
    assert schedule.entries['batch_size'] == 4
    assert schedule.entries['optim_wrapper'] == dict(optimizer=dict(lr=5e-5))
    assert schedule.entries['auto_scale_lr'] == dict(base_batch_size=8)
    assert '0.0001 × 8 / 16 = 5e-05' in schedule.comments['optim_wrapper']
    assert 'param_scheduler' not in schedule.entries, 'as in the base'
    (notice,) = schedule.notices
    assert '160,000 iterations are 1,280 epochs' in notice


def test_without_a_batch_size_in_the_base_the_rate_stays() -> None:
    base = load('upernet_convnext_t_ade20k')
    base.pop('auto_scale_lr')
    schedule = plan(base, 100000, 4, 1, Length())
    assert 'optim_wrapper' not in schedule.entries
    assert 'the rate was not changed' in schedule.notices[0]


@pytest.mark.parametrize('length', [Length(iterations=2000), Length(epochs=8)])
def test_iterations(length: Length) -> None:
    schedule = plan(load('upernet_convnext_t_ade20k'), 1000, 4, 1, length)
    assert schedule.entries['train_cfg'] == dict(max_iters=2000, val_interval=200)
    warm_up, poly = schedule.entries['param_scheduler']
    assert (warm_up['begin'], warm_up['end']) == (0, 101), 'a 20th'
    assert (poly['begin'], poly['end']) == (0, 2001)
    assert schedule.entries['default_hooks']['checkpoint'] == dict(interval=200)
    assert schedule.notices == []


@pytest.mark.parametrize('length', [Length(epochs=12), Length(iterations=6000)])
def test_epochs(length: Length) -> None:
    schedule = plan(load('mask_rcnn_convnext_t_coco'), 1000, 2, 1, length)
    assert schedule.entries['train_cfg'] == dict(max_epochs=12, val_interval=1)
    warm_up, steps = schedule.entries['param_scheduler']
    assert warm_up['end'] == 301
    assert steps['milestones'] == [9, 11]
    assert steps['end'] == 12


def test_a_run_by_epoch_whose_scheduler_counts_iterations() -> None:
    """The base's 526 are for its own 300 images."""
    schedule = plan(load('mask_rcnn_convnext_atto_samples'), 1000, None, 1, Length())
    warm_up, poly = schedule.entries['param_scheduler']
    assert warm_up['end'] == 51, 'short enough'
    assert poly['end'] == 7 * 250 + 1


def test_a_set_so_small_that_the_warm_up_would_not_end() -> None:
    schedule = plan(load('mask_rcnn_convnext_t_coco'), 20, 2, 1, Length())
    assert 'train_cfg' not in schedule.entries
    warm_up, steps = schedule.entries['param_scheduler']
    assert warm_up['end'] == 36 * 10 // 20 + 1
    assert steps['milestones'] == [27, 33]


def test_what_begins_after_the_warm_up_still_does() -> None:
    base = load('upernet_convnext_t_ade20k')
    base.param_scheduler[1].begin = base.param_scheduler[0].end
    first, second = plan(base, 1000, 4, 1, Length(iterations=200)).entries['param_scheduler']
    assert second['begin'] == first['end'] == 11


def test_an_unknown_loop_is_one_line() -> None:
    base = load('upernet_convnext_t_ade20k')
    base.train_cfg = dict(type='OwnLoop')
    with pytest.raises(UserError, match='expected EpochBasedTrainLoop'):
        plan(base, 10, 1, 1, Length())
