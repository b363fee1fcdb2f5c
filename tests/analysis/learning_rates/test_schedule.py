from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmconvnext.analysis.learning_rates.run_length import RunLength, run_length
from mmconvnext.analysis.learning_rates.schedule import run_schedule
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


def test_matches_the_closed_form_of_the_paper() -> None:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_t_ade20k.py')
    length = run_length(config)
    assert length == RunLength(160000)
    schedule = run_schedule(config, length, [1e-4, 5e-5])
    t = np.arange(160000)
    expected = np.where(t < 1500, 1e-6 + (1 - 1e-6) * t / 1500, 1) * (1 - t / 160000)
    np.testing.assert_allclose(schedule.rates, np.outer([1e-4, 5e-5], expected), rtol=1e-9)
    assert schedule.turns == [0, 1500, 159999]
    assert schedule.notices == []


def test_epochs_match_the_closed_form() -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_t_coco.py')
    length = run_length(config, per_epoch=20)
    config.param_scheduler[0].end = 51
    rates = run_schedule(config, length, [1e-4]).rates[0]
    t = np.arange(36 * 20)
    expected = np.where(t < 50, 1e-3 + (1 - 1e-3) * t / 50, 1.0)
    expected *= np.where(t < 27 * 20, 1, np.where(t < 33 * 20, 0.1, 0.01))
    np.testing.assert_allclose(rates, 1e-4 * expected, rtol=1e-9)


def test_turns_of_epochs() -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_t_coco.py')
    schedule = run_schedule(config, run_length(config, per_epoch=1000), [1e-4])
    assert schedule.turns == [0, 500, 27000, 33000, 35999]


def test_schedulers_of_another_kind_are_told() -> None:
    config = Config(
        dict(
            param_scheduler=[
                dict(type='ReduceOnPlateauLR', monitor='loss', rule='less'),
                dict(type='StepLR', step_size=2),
                dict(type='LinearMomentum', by_epoch=False, end=2),
            ]
        )
    )
    schedule = run_schedule(config, RunLength(4), [1.0])
    assert schedule.rates.tolist() == [[1.0] * 4]
    assert 'ReduceOnPlateauLR depends on results' in schedule.notices[0]
    assert 'StepLR counts epochs' in schedule.notices[1]
    config.param_scheduler = dict(type='StepLR', step_size=1, gamma=0.5)
    assert run_schedule(config, RunLength(4, 2), [1.0]).rates.tolist() == [[1, 1, 0.5, 0.5]]
    config.param_scheduler = dict(type='StepLR')
    with pytest.raises(UserError, match='StepLR cannot be built'):
        run_schedule(config, RunLength(4, 2), [1.0])


def test_epochs_without_data_are_assumed() -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_t_coco.py')
    config.train_dataloader.dataset.data_root = 'nowhere'
    length = run_length(config)
    assert (length.per_epoch, length.assumed) == (1000, True)
    assert '1000 assumed; give --iters-per-epoch' in length.notice
    config.param_scheduler[0].end = 1001
    assert run_length(config).per_epoch == 2000
    # One that counts iterations to the end of the run says how long it is: 7 epochs × 75.
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    config.train_dataloader.dataset.data_root = 'nowhere'
    assert run_length(config).per_epoch == 75
    config.train_cfg = dict(type='EpochBasedTrainLoop')
    with pytest.raises(UserError, match='expected max_iters or max_epochs'):
        run_length(config)


def test_epochs_of_the_data_that_are_there(tmp_path: Path, monkeypatch) -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    root = write_detection_samples(tmp_path / 'samples', training=9, validation=1, size=64)
    dataset = config.train_dataloader.dataset
    dataset.data_root = str(root)
    length = run_length(config)
    assert (length.per_epoch, length.assumed) == (3, False)  # 9 / 4
    assert run_length(config, processes=2).per_epoch == 2  # 5 each
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=4, dataset=dataset)
    config.train_dataloader.drop_last = True
    assert run_length(config).iterations == 7 * 9
    monkeypatch.setattr('mmconvnext.analysis.learning_rates.run_length.CHEAP_BYTES', 10)
    assert 'instances_train2017.json is large' in run_length(config).notice
