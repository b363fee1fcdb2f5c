"""Training data that depends only on the position in the run, and can start at any position."""

import random
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Self

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmconvnext.errors import UserError
from mmconvnext.runner.random_state import random_state_kept


class Place(int):
    """The index of a sample, with its position in the run: the epoch and the number within it."""

    position: tuple[int, int]

    @classmethod
    def of(cls, index: int, position: tuple[int, int]) -> Self:
        place = cls(index)
        place.position = position
        return place


class SeededSamples(Dataset):
    """A dataset that augments each sample with random numbers of the run's seed and the position.

    The augmentation does not depend on the worker that makes the sample, nor on the worker's
    earlier samples. The random states of the process do not change, because without workers that
    process also trains.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: Place) -> Any:
        with random_state_kept():
            words = np.random.SeedSequence([self.seed, *place.position]).generate_state(3)
            random.seed(int(words[0]))
            np.random.seed(words[1])
            torch.default_generator.manual_seed(int(words[2]))  # leaves those of GPUs alone
            return self.dataset[int(place)]


class TrainingLoader(DataLoader):
    """A data loader that can skip batches without reading their images.

    It has the attributes of the loader it is made from. Its workers start with the first batch. It
    draws no random numbers from the process's random states.
    """

    def __init__(self, loader: DataLoader, seed: int, differs_by_rank: bool = False) -> None:
        vars(self).update(vars(loader))
        # With mmengine's `diff_rank_seed` the seed is the run's plus the rank; samplers share one.
        self._added = get_rank() if differs_by_rank else 0
        self._samples = SeededSamples(loader.dataset, seed - self._added)
        self._places = _Places(loader.batch_sampler)
        options: dict[str, Any] = {}
        if loader.num_workers:
            options['prefetch_factor'] = loader.prefetch_factor
        self._reader = DataLoader(
            self._samples,
            batch_sampler=self._places,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            persistent_workers=loader.persistent_workers,
            generator=torch.Generator(),  # else each start draws from the process's random state
            **options,
        )

    @staticmethod
    def suits(loader: DataLoader) -> bool:
        """Return whether a loader makes batches of indices, which have positions."""
        return loader.batch_sampler is not None and not isinstance(loader.dataset, IterableDataset)

    def begin(self, seed: int, epoch: int, passed: int) -> None:
        """Start an epoch after its first ``passed`` batches."""
        self._samples.seed = seed - self._added
        sampler: Any = self._sampler()
        if hasattr(sampler, 'seed'):
            sampler.seed = seed - self._added
        self._set_epoch(epoch)
        self._places.passed = passed

    def _set_epoch(self, epoch: int) -> None:
        self._places.epoch = epoch
        sampler: Any = self._sampler()
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)

    def _sampler(self) -> object:
        return getattr(self.batch_sampler, 'sampler', None)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from self._reader

    def without_end(self) -> Iterator[Any]:
        """Yield the batches of this epoch and of all later epochs."""
        while True:
            before, given = self._places.passed, False
            for batch in self:
                given = True
                yield batch
            if not given and not before:
                return  # there are no batches
            self._set_epoch(self._places.epoch + 1)


class _Places(Iterable):
    """The batches of a batch sampler, with each index as a :class:`Place`."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.epoch = self.passed = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        rank, processes, number = get_rank(), get_world_size(), 0
        for batch in self.batches:
            first, number = number, number + len(batch)
            if self.passed:
                self.passed -= 1
                continue
            positions = range(first * processes + rank, number * processes, processes)
            yield [Place.of(i, (self.epoch, one)) for i, one in zip(batch, positions)]


def require_batches(loader: DataLoader) -> None:
    """Raise a UserError if an epoch has no batch: ``drop_last`` drops the only one."""
    batches: Any = loader.batch_sampler
    sampler: Any = getattr(batches, 'sampler', None)
    if isinstance(sampler, Sized) and not isinstance(sampler, InfiniteSampler) and not len(batches):
        raise UserError(
            f'train_dataloader: expected {batches.batch_size} images per process or more, a batch '
            f'with drop_last=True, found {len(sampler)}; set a smaller batch_size, or '
            'drop_last=False'
        )
