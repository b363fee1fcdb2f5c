import pytest

from mmconvnext.errors import UserError
from mmconvnext.studies.roadmap.costs import Bench, count_step, time_steps
from mmconvnext.studies.roadmap.results import PUBLISHED


@pytest.mark.parametrize(
    ('step', 'regime', 'macs', 'parameters'),
    [
        ('resnet50', 'resnet50', 4_089_184_256, 25_557_032),  # torchvision's resnet50
        ('layer_norm', 'resnet50', 4_145_612_928, None),
        ('separate_downsampling', 'resnet50', 4_455_531_264, 28_589_128),  # the official ConvNeXt-T
        ('separate_downsampling', 'resnet200', None, 88_591_464),  # and -B
    ],
)
def test_counts_of_classifiers(step: str, regime: str, macs: int | None, parameters: int | None):
    counted = count_step(step, regime)
    assert macs in (None, counted.macs)
    assert parameters in (None, counted.parameters)
    published = PUBLISHED[regime][step]
    assert bool(published.note) == (abs(counted.macs / 1e9 - published.gflops) > 0.006)


def test_steps_are_timed_in_both_modes(monkeypatch) -> None:
    monkeypatch.setattr('mmconvnext.analysis.benchmark.timing.SHORTEST_SECONDS', 0)
    reports: list[str] = []
    names = ['resnet50', 'separate_downsampling']
    bench = Bench(size=32, batches=(1, 2), rounds=2, device='cpu')
    timings = time_steps(names, 'resnet50', bench, reports.append)
    assert list(timings) == names
    assert sorted(reports) == sorted(2 * 3 * names)
    for timing in timings.values():
        for spread in timing:
            assert 0 < spread.lower <= spread.median <= spread.upper


def test_an_unknown_step_is_told() -> None:
    with pytest.raises(UserError, match='depthwise'):
        count_step('depth', 'resnet50')
