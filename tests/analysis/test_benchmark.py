import dataclasses
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmconvnext.analysis.benchmark import (
    LOSS_SCALE,
    Case,
    Measurement,
    MemoryMeter,
    ModelStep,
    Spread,
    Step,
    Tolerances,
    Variant,
    differences,
    gemm_gflops,
    measure_case,
    randomise_vectors,
    work,
)
from mmconvnext.analysis.benchmark_figure import caption, draw, table
from mmconvnext.errors import UserError

MEBIBYTE = 2**20


def constant(value: float, log: list[tuple[str, int]] | None = None, name: str = '') -> Step:
    def step(seed: int) -> Mapping[str, Tensor]:
        if log is not None:
            log.append((name, seed))
        return {'value': torch.tensor([value])}

    return step


def variant(name: str, value: float = 1.0, **options: object) -> Variant:
    return Variant(name, partial(constant, value), **options)


def allocating(mebibytes: int) -> Step:
    """Holds so much more during each step."""

    def step(_: int) -> Mapping[str, Tensor]:
        return {'sum': torch.ones(mebibytes * MEBIBYTE // 4).sum()}

    return step


def prepare_and_free(mebibytes: int) -> Step:
    torch.ones(400 * MEBIBYTE // 4)  # more, but before the steps
    return allocating(mebibytes)


def dying() -> Step:
    os._exit(9)


def model_step(training: bool, dropout: float = 0.0) -> ModelStep:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout)).train(training)
    x = torch.randn(5, 3, requires_grad=training)
    return ModelStep(model, lambda: {'y': model(x)}, leaves={'x': x})


def measured(name: str, seconds: float, rival: str = '', tuned: bool = False) -> Measurement:
    spread = Spread(seconds, 0.9 * seconds, 1.2 * seconds)
    return Measurement(name, rival, tuned, spread, spread, 0.5, 3 * MEBIBYTE, 1e-6)


@pytest.fixture
def case() -> Case:
    return Case(
        'a case',
        5,
        10**9,
        100.0,
        [
            measured('ours', 1),
            measured('ours, again', 1.01),
            measured('ours, fast=False', 1.5),
            measured('timm', 3, 'timm'),
            measured('timm, channels_last', 2, 'timm', tuned=True),
        ],
    )


def test_quartiles_match_numpy() -> None:
    spread = Spread.of([5.0, 1.0, 2.0, 8.0])
    assert dataclasses.astuple(spread) == (3.5, 1.75, 5.75)
    assert Spread.of([4.0]) == Spread(4.0, 4.0, 4.0)


def test_rounds_run_everything_once_with_one_seed_in_a_changing_order(monkeypatch) -> None:
    log: list[tuple[str, int]] = []
    monkeypatch.setattr('mmconvnext.analysis.benchmark.SHORTEST_SECONDS', 0)
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
    monkeypatch.setattr('mmconvnext.analysis.benchmark.gemm_gflops', lambda *_, **__: 100.0)
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
    monkeypatch.setattr('mmconvnext.analysis.benchmark.gemm_gflops', lambda *_, **__: 100.0)
    taken = iter([40.0])

    def step(_: int) -> Mapping[str, Tensor]:
        clock[0] += next(taken, 1.0)
        return {}

    case = measure_case('', [Variant('ours, compiled', lambda: step)], rounds=3, device='cpu')
    assert case.measurements[0].first_seconds == 40
    assert case.measurements[0].seconds.median == 1
    assert [*table(case).columns[-1].cells] == ['40.0', '0.00']


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision_is_of_the_forward_pass(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(3, 4), torch.randn(5, 3)
    step = ModelStep(model, lambda: {'y': model(x)}, amp=dtype)
    results = step(0)
    assert results['y'].dtype == dtype
    assert results['gradient of weight'].dtype == torch.float32
    model.eval()
    assert step(0)['y'].dtype == dtype
    loss = ModelStep(model.train(), lambda: {'loss': model(x).float().mean()}, amp=dtype)
    exact = ModelStep(model, lambda: {'loss': model(x).mean()})
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    found, expected = loss(0)['gradient of bias'], exact(0)['gradient of bias']
    torch.testing.assert_close(found, scale * expected, rtol=1e-2, atol=0)


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


def test_training_step_gives_all_gradients_and_leaves_none() -> None:
    step = model_step(training=True)
    results = step(0)
    assert results.keys() == {'y', *(f'gradient of {name}' for name in ('0.weight', '0.bias', 'x'))}
    y = step.forward()['y']
    (expected,) = torch.autograd.grad((y * step.weights[0]).sum(), step.model[0].weight)
    assert torch.equal(results['gradient of 0.weight'], expected)
    assert all(leaf.grad is None for leaf in step.leaves.values())
    assert torch.equal(step(1)['gradient of x'], results['gradient of x']), 'nothing accumulates'


def test_seed_decides_what_is_dropped() -> None:
    step = model_step(training=True, dropout=0.5)
    assert torch.equal(step(3)['y'], step(3)['y'])
    assert not torch.equal(step(3)['y'], step(4)['y'])


def test_inference_keeps_no_graph() -> None:
    assert model_step(training=False)(0)['y'].is_inference()


def test_randomised_vectors_leave_no_norm_at_one() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    weight = model[0].weight.clone()
    randomise_vectors(model)
    assert (model[1].weight != 1).all()
    assert (model[1].bias != 0).all()
    assert torch.equal(model[0].weight, weight)


def test_peak_memory_is_that_of_the_steps() -> None:
    with MemoryMeter() as meter:
        steps = [Variant('', partial(prepare_and_free, size)) for size in (32, 256)]
        small, large = (meter.peak(step) / MEBIBYTE for step in steps)
        assert meter.peak(Variant('', dying)) is None, 'a process that ends costs no more than it'
        assert meter.peak(steps[0]) is not None
    assert 32 <= small < 96
    assert 256 <= large < 320


def test_gemm_ceiling_is_positive() -> None:
    assert gemm_gflops('cpu', side=64, repeats=2) > 0


def test_best_of_rivals(case: Case) -> None:
    assert case.best_of_rivals() == {'timm': case.measurements[-1]}
    assert 'time ÷ ours: timm 2.00 (timm, channels_last)' in caption(case)


def test_case_becomes_json(case: Case) -> None:
    read = json.loads(json.dumps(dataclasses.asdict(case)))
    assert read['measurements'][0]['seconds'] == {'median': 1, 'lower': 0.9, 'upper': 1.2}


@pytest.mark.parametrize('cases', [1, 3])
def test_table_and_figure(case: Case, cases: int, tmp_path: Path) -> None:
    written = table(case)
    assert [*written.columns[0].cells] == [one.name for one in case.measurements]
    assert next(iter(written.columns[1].cells)) == '1,000 [900, 1,200]'
    draw([case] * cases, tmp_path / 'new' / 'bars.png')
    assert (tmp_path / 'new' / 'bars.png').read_bytes().startswith(b'\x89PNG')
