import os
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from mmconvnext.analysis.benchmark.memory import MemoryMeter
from mmconvnext.analysis.benchmark.step import Step

MEBIBYTE = 2**20


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


def test_peak_memory_is_that_of_the_steps() -> None:
    meter = MemoryMeter()
    steps = [partial(prepare_and_free, size) for size in (32, 256)]
    small, large = (meter.peak(step) / MEBIBYTE for step in steps)
    assert meter.peak(dying) is None, 'a process that ends costs no more than it'
    assert meter.peak(steps[0]) is not None
    assert 32 <= small < 96
    assert 256 <= large < 320
