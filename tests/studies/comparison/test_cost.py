"""On the small models of the samples' configs."""

import pytest
from mmengine.config import Config

from mmconvnext.errors import UserError
from mmconvnext.studies.comparison import cost
from mmconvnext.studies.comparison.cost import Task, measure, prepare, task_of, work
from tests.conftest import CONFIGS

SEGMENTOR, DETECTOR = 'upernet_convnext_atto_samples', 'mask_rcnn_convnext_atto_samples'


def task(name: str, training: bool, size: tuple[int, int] = (64, 96)) -> Task:
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.model.backbone.pop('init_cfg', None)
    return task_of(config, size, 2 if training else 1, training, 'cpu')


def test_every_backbone_s_detector_masks_as_many_objects() -> None:
    """Not as many as its random weights happen to find."""
    found = []
    for options in ({'arch': 'atto'}, {'arch': 'atto', 'use_grn': True}):
        one = task(DETECTOR, False, (128, 128))
        one.model['backbone'] |= options
        if 'use_grn' in options:
            one.model['backbone'].pop('layer_scale_init_value')
        one.model['test_cfg']['rpn']['max_per_img'] = 300  # of which NMS leaves enough
        for head in ('bbox_head', 'mask_head'):
            one.model['roi_head'][head]['num_classes'] = 80  # none above the threshold by chance
        step = prepare(one)
        kept: list = []
        step.model.roi_head.mask_head.register_forward_hook(
            lambda _, inputs, __, kept=kept: kept.append(len(inputs[0]))
        )
        step(0)
        found.append(kept)
    assert found == [[100], [100]]


@pytest.mark.parametrize('name', [SEGMENTOR, DETECTOR])
def test_a_training_step_reaches_every_parameter(name: str, monkeypatch) -> None:
    step = prepare(task(name, True))
    monkeypatch.setattr(step.model, 'zero_grad', lambda **_: None)
    assert step(0)['loss'].isfinite()
    without = [key for key, value in step.model.named_parameters() if value.grad is None]
    assert without == []


def test_measured_in_turns_and_reported() -> None:
    tasks = {'a': task(SEGMENTOR, True), 'b': task(SEGMENTOR, True)}
    reports: list[str] = []

    class Memory:
        peaks = iter((5, 7))

        def peak(self, prepare) -> int:
            assert prepare()(0)['loss'].isfinite()
            return next(self.peaks)

    speeds = measure(tasks, rounds=2, memory=Memory(), report=reports.append)
    assert len(reports) == work(tasks, rounds=2, memory=True)
    assert [speed.peak_bytes for speed in speeds.values()] == [5, 7]
    for speed in speeds.values():
        assert 0 < speed.seconds.lower <= speed.seconds.median <= speed.seconds.upper
        slowest = speed.pictures_per_second.lower
        assert 2 / speed.seconds.upper - 1e-9 <= slowest <= speed.pictures_per_second.median


def test_what_runs_out_of_memory_is_one_line(monkeypatch) -> None:
    def fail(_: Task) -> None:
        raise RuntimeError('not enough memory: you tried to allocate 9 bytes\nand more')

    monkeypatch.setattr(cost, 'prepare', fail)
    with pytest.raises(UserError, match=r'^a: cannot be run .*9 bytes\); choose a smaller'):
        measure({'a': task(SEGMENTOR, False)}, rounds=1)
