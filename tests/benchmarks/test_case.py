from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor

from benchmarks.case import Tolerances, Variant, differences, measure_case, work
from benchmarks.figure import table
from mmconvnext.analysis.benchmark.step import Step
from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.errors import UserError


def constant(value: float, log: list[tuple[str, int]] | None = None, name: str = '') -> Step:
    def step(seed: int) -> Mapping[str, Tensor]:
        if log is not None:
            log.append((name, seed))
        return {'value': torch.tensor([value])}

    return step


def variant(name: str, value: float = 1.0, **options: object) -> Variant:
    return Variant(name, partial(constant, value), **options)


def test_rounds_run_everything_once_with_one_seed_in_a_changing_order(monkeypatch) -> None:
    log: list[tuple[str, int]] = []
    monkeypatch.setattr('mmconvnext.analysis.benchmark.timing.SHORTEST_SECONDS', 0)
    variants = [Variant(name, partial(constant, 1.0, log, name)) for name in ('a', 'b', 'c')]
    reports: list[str] = []
    result = measure_case('', variants, rounds=6, warm_up=1, device='cpu', report=reports.append)
    assert len(reports) == work(3, rounds=6, warm_up=1)
    assert [one.name for one in result.measurements] == ['a', 'a, again', 'b', 'c']
    last = log[-24:]
    rounds = [last[i : i + 4] for i in range(0, 24, 4)]
    for runs in rounds:
        assert sorted(name for name, _ in runs) == ['a', 'a', 'b', 'c']
        assert len({seed for _, seed in runs}) == 1
    assert len({runs[0][1] for runs in rounds}) == 6, 'each round has masks of its own'
    assert len({tuple(name for name, _ in runs) for runs in rounds}) > 1


def test_ratios_are_paired_within_rounds(monkeypatch) -> None:
    """A machine that slows down by the round changes times and not ratios."""
    clock, factor = [0.0], {'a': 1.0, 'b': 3.0}
    monkeypatch.setattr('time.perf_counter', lambda: clock[0])

    def prepare(name: str) -> Step:
        def step(seed: int) -> Mapping[str, Tensor]:
            clock[0] += factor[name] * (1 + seed)
            return {}

        return step

    variants = [Variant(name, partial(prepare, name)) for name in factor]
    monkeypatch.setattr('mmconvnext.analysis.benchmark.timing.gemm_gflops', lambda *_, **__: 100.0)
    result = measure_case('', variants, rounds=5, device='cpu', macs=50 * 10**9)
    ours, again, theirs = result.measurements
    assert ours.seconds == Spread(4.0, 3.0, 5.0)
    assert again.ratio == Spread(1.0, 1.0, 1.0)
    assert theirs.ratio == Spread(3.0, 3.0, 3.0)
    assert ours.gemm_fraction == 1 / 4, '100 GFLOP at 100 GFLOP/s are a second'


def test_other_results_are_not_timed() -> None:
    with pytest.raises(UserError, match=r'other: expected the outputs .* differ by 0\.01'):
        measure_case('', [variant('ours'), variant('other', 1.01)], rounds=1, device='cpu')
    missing = Variant('other', lambda: lambda _: {})
    with pytest.raises(UserError, match=r'other: value: expected shape \(1,\), got none'):
        measure_case('', [variant('ours'), missing], rounds=1, device='cpu')
    nan = variant('other', float('nan'))
    with pytest.raises(UserError, match='differ by nan'):
        measure_case('', [variant('ours'), nan], rounds=1, device='cpu')


def test_a_rival_that_fails_or_differs_can_be_left_out() -> None:
    def fail() -> Step:
        raise ImportError('not here')

    given = [variant('ours'), variant('other', 1.01), Variant('broken', fail), variant('same')]
    told: list[tuple[str, str]] = []
    case = measure_case('', given, rounds=1, device='cpu', drop=lambda *what: told.append(what))
    assert [one.name for one in case.measurements] == ['ours', 'ours, again', 'same']
    (other, differs), broken = told
    assert other == 'other'
    assert 'they differ by 0.01' in differs
    assert broken == ('broken', 'ImportError: not here')
    with pytest.raises(ImportError, match='not here'):  # nothing is left without a reference
        measure_case('', [given[2]], rounds=1, device='cpu', drop=lambda *_: None)


def test_the_first_step_is_timed_apart(monkeypatch) -> None:
    """Which compiles, where something is compiled."""
    clock = [0.0]
    monkeypatch.setattr('time.perf_counter', lambda: clock[0])
    monkeypatch.setattr('mmconvnext.analysis.benchmark.timing.gemm_gflops', lambda *_, **__: 100.0)
    taken = iter([40.0])

    def step(_: int) -> Mapping[str, Tensor]:
        clock[0] += next(taken, 1.0)
        return {}

    case = measure_case('', [Variant('ours, compiled', lambda: step)], rounds=3, device='cpu')
    assert case.measurements[0].first_seconds == 40
    assert case.measurements[0].seconds.median == 1
    assert [*table(case).columns[-1].cells] == ['40.0', '0.00']


def test_gradients_have_a_bound_of_their_own() -> None:
    def step(value: float) -> Step:
        return lambda _: {'y': torch.ones(1), 'gradient of w': torch.tensor([value])}

    variants = [Variant('ours', partial(step, 1.0)), Variant('other', partial(step, 1.005))]
    bounds = Tolerances(outputs=0, gradients=1e-2)
    result = measure_case('', variants, rounds=1, device='cpu', tolerances=bounds)
    assert result.measurements[2].difference == pytest.approx(0.005, rel=1e-3)
    bounds = Tolerances(gradients=1e-3)
    with pytest.raises(UserError, match=r'the gradients of ours within 0\.001'):
        measure_case('', variants, rounds=1, device='cpu', tolerances=bounds)


def test_squares_of_half_precision_results_do_not_overflow() -> None:
    large = {'gradient of w': torch.full((100,), 3e4, dtype=torch.float16)}
    assert differences(large, large) == (0, 0)


def test_differences() -> None:
    a = {'y': torch.tensor([1.0, 4.0]), 'gradient of w': torch.tensor([100.0, 0.0])}
    b = {'y': torch.tensor([[[1.0]], [[4.4]]]), 'gradient of w': torch.tensor([100.0, 1.0])}
    assert differences(a, b) == pytest.approx((0.1, 0.01))
    noise = torch.tensor([1e-7])
    _, gradients = differences({**a, 'gradient of b': noise}, {**a, 'gradient of b': -noise})
    assert gradients < 1e-5
    labels = {'labels': torch.tensor([1, 2, 3, 4])}
    assert differences(labels, {'labels': torch.tensor([1, 2, 3, 149])}) == (0.25, 0)
