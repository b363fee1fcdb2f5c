"""Backbones that replay recorded passes; here a recording is one of Python, run again."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmconvnext.backbones import cuda_graph
from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.errors import ArgumentError

ARCH = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


class Recording:
    """Runs again what was recorded and writes the results where the first ones are."""

    count = 0

    def __init__(self, run: Callable[[], tuple], results: tuple) -> None:
        self.run, self.results, self.replays = run, results, 0
        self.learns = torch.is_grad_enabled()

    def pool(self) -> None:
        return None

    def replay(self) -> None:
        self.replays += 1
        with torch.set_grad_enabled(self.learns):
            new = self.run()
        with torch.no_grad():
            for old, one in zip(self.results, new):
                if old is not None:
                    old.copy_(one)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    made = []

    def record(run: Callable[[], tuple], pool: object = None) -> tuple[tuple, Recording]:
        with torch.random.fork_rng():  # a real one draws nothing while it is made
            results = tuple(one if one is None else one.clone() for one in run())
        made.append(Recording(run, results))
        return results, made[-1]

    def can_record(module: torch.nn.Module, x: Tensor) -> bool:
        return not x.requires_grad and not any(map(cuda_graph._has_hooks, module.children()))

    monkeypatch.setattr(cuda_graph, 'record', record)
    monkeypatch.setattr(cuda_graph, 'can_record', can_record)
    return made


def pair(**options: object) -> tuple[ConvNeXt, ConvNeXt]:
    torch.manual_seed(0)
    ours = ConvNeXt(ARCH, cuda_graph=True, layer_scale_init_value=0.5, **options)
    plain = ConvNeXt(ARCH, layer_scale_init_value=0.5, **options)
    plain.load_state_dict(ours.state_dict())
    return ours.train(), plain.train()


def run(model: ConvNeXt, seed: int, size: int = 32) -> list[Tensor]:
    torch.manual_seed(seed)
    maps = model(torch.randn(2, 3, size, size))
    learning = [y for y in maps if y.requires_grad]
    torch.autograd.backward(learning, [torch.randn_like(y) for y in learning])
    return [y.detach() for y in maps]


def gradients(model: ConvNeXt) -> list[Tensor | None]:
    return [parameter.grad for parameter in model.parameters()]


def same(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize('options', [{}, dict(drop_path_rate=0.5), dict(frozen_stages=1)])
def test_matches_the_plain_call_with_accumulated_gradients(recordings, options) -> None:
    ours, plain = pair(**options)
    kept = []
    for seed in range(8):
        found, wanted = run(ours, seed), run(plain, seed)
        kept += [(found, [y.clone() for y in found])]
        same(found, wanted)
        same(gradients(ours), gradients(plain))
        if seed in (2, 5):  # three steps at a time
            for model in (ours, plain):
                model.zero_grad(set_to_none=True)
    # Replays left alone what was returned before.
    for found, copies in kept:
        same(found, copies)
    assert [one.replays for one in recordings] == [8 - cuda_graph.WARM_UP] * 2


def test_follows_the_optimizer_and_moved_weights(recordings) -> None:
    ours, plain = pair()
    for model in (ours, plain):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for seed in range(6):
            run(model, seed)
            optimizer.step()
            optimizer.zero_grad()
    same(list(ours.parameters()), list(plain.parameters()))
    assert len(recordings) == 2
    ours.double().float()  # new memory for the weights
    same(run(ours, 9), run(plain, 9))
    assert len(recordings) == 4


def test_records_only_sizes_that_come_often(recordings) -> None:
    ours, plain = pair()
    for size in (32, 36, 40, 44, 48, 52):
        for seed in range(cuda_graph.WARM_UP + 1):
            same(run(ours, seed, size), run(plain, seed, size))
            assert len(recordings) <= 2 * cuda_graph.MOST_GRAPHS
    assert len(recordings) == 2 * cuda_graph.MOST_GRAPHS


def test_counts_a_bounded_number_of_sizes(recordings, monkeypatch) -> None:
    monkeypatch.setattr(cuda_graph, '_MOST_COUNTED', 2)
    ours, _ = pair()
    for size in (32, 36, 40) * 4:
        run(ours, 0, size)
    assert not recordings
    assert len(ours._graphs._calls) <= 2


def test_inference_has_a_recording_of_its_own(recordings) -> None:
    ours, plain = pair()
    x = torch.randn(1, 3, 32, 32)
    for context in (torch.no_grad, torch.inference_mode):
        for _ in range(5):
            with context():
                same(ours.eval()(x), plain.eval()(x))
    assert [one.replays for one in recordings] == [2, 2]  # no backward passes
    run(ours.train(), 0)


def test_autocast_is_part_of_the_kind(recordings) -> None:
    ours, plain = pair()
    for _ in range(5):
        for dtype in (torch.bfloat16, None):
            with torch.autocast('cpu', dtype, enabled=dtype is not None):
                same(run(ours, 0), run(plain, 0))
    assert len(recordings) == 4


def test_two_forward_passes_before_a_backward_pass_are_refused(recordings) -> None:
    ours, _ = pair()
    for seed in range(5):
        run(ours, seed)
    x = torch.randn(2, 3, 32, 32)
    first = ours(x)
    ours(x)
    with pytest.raises(RuntimeError, match='cuda_graph: expected a backward pass before'):
        sum(y.sum() for y in first).backward()


def test_hooks_are_called(recordings) -> None:
    ours, _ = pair()
    calls = []
    ours.stages[1][0].norm.register_forward_hook(lambda *_: calls.append(1))
    for seed in range(5):
        run(ours, seed)
    assert len(calls) == 5
    assert not recordings


def test_copies_and_pickles_record_anew(recordings) -> None:
    ours, plain = pair()
    for seed in range(5):
        run(ours, seed)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert not other._graphs._graphs
        same(run(other, 7), run(plain, 7))


def test_changes_nothing_on_a_cpu() -> None:
    ours, plain = pair()
    for seed in range(5):
        same(run(ours, seed), run(plain, seed))
    assert not ours._graphs._graphs


@pytest.mark.parametrize('other', ['with_cp', 'compile_blocks'])
def test_is_refused_with_recomputing_and_compiling(other: str) -> None:
    with pytest.raises(ArgumentError, match=r'cuda_graph: expected False with with_cp'):
        ConvNeXt(ARCH, cuda_graph=True, **{other: True})
