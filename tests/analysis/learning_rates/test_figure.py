from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from rich.console import Console

from mmconvnext.analysis.learning_rates.figure import draw, groups_table, schedule_table
from mmconvnext.analysis.learning_rates.plan import make_plan
from tests.conftest import CONFIGS


def text(table) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize('decay', [True, False])
def test_draws_with_and_without_layers(decay: bool, tmp_path: Path) -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    if not decay:
        wrapper = config.optim_wrapper
        config.optim_wrapper = dict(type='OptimWrapper', optimizer=wrapper.optimizer)
    plan = make_plan(config, per_epoch=75)
    draw('atto', plan, tmp_path / 'deep' / 'lr.png')
    picture = cv2.imread(str(tmp_path / 'deep' / 'lr.png'))
    assert picture.shape[1] > picture.shape[0] > 400
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['lr.png']
    # Nothing is cut off: the margin is white.
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (edge == 255).all()
    rows = text(groups_table(plan.rates.groups))
    assert ('stages.2.0-2' in rows) == decay
    assert '525' not in text(schedule_table(plan)), 'iterations count from 0'
    assert '524' in text(schedule_table(plan))


def test_json_agrees_with_itself() -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    config.param_scheduler = config.param_scheduler[:1] + [dict(type='StepLR', step_size=3)]
    plan = make_plan(config, per_epoch=5000)
    content = plan.as_json()
    schedule = content['schedule']
    assert content['iterations'] == 35000
    assert {14999, 15000, 30000} <= {*schedule['iterations']}, 'both sides of a step'
    assert {*schedule['turns']} <= {*schedule['iterations']}
    # The peak, at the end of the warm-up, has not fallen between the points.
    assert max(schedule['heads']) == plan.schedule.rates[0].max()
    first = content['groups'][0]
    assert first['lr'] == pytest.approx(first['lr_scale'] * content['base_lr'])
