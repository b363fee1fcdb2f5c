"""Batch norms of a run: enough values to normalise, and one process's statistics to evaluate."""

from collections.abc import Iterable, Sequence, Sized
from functools import partial
from itertools import chain
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_gather_object, broadcast, get_world_size
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mmconvnext.errors import UserError
from mmconvnext.hooks.outcome import told_everywhere

_NAMED = 3


def require_values_to_normalise(model: nn.Module, loader: DataLoader, iterations: int) -> None:
    """Check that no batch norm gets a single value per channel, on which PyTorch fails.

    Only in a batch of one image can that happen: in all batches, or in the last one of an epoch. If
    there is such a batch, the model computes the loss of one training image, from which its batch
    norms do not learn. All processes call this together.

    Args:
        model: The model in training, in DistributedDataParallel or without a wrapper; others are
            not checked.
        loader: The training data.
        iterations: Length of the run.

    Raises:
        UserError: a batch norm gets a single value per channel.
    """
    found: list[str] = []
    if smallest_batch(loader, iterations) == 1:
        found = norms_of_one_value(model, loader.collate_fn([loader.dataset[0]]))
    found = list(dict.fromkeys(chain.from_iterable(all_gather_object(found))))
    if found:
        raise told_everywhere(UserError(_message(found, loader.batch_sampler)))


def smallest_batch(loader: DataLoader, iterations: int) -> int:
    """Return the images in this process's smallest batch of a run, or 0 if that is unknown."""
    batches: Any = loader.batch_sampler
    size: Any = getattr(batches, 'batch_size', None)
    if not isinstance(size, int):
        return 0
    sampler: Any = getattr(batches, 'sampler', None)
    ends = isinstance(sampler, Sized) and not isinstance(sampler, InfiniteSampler)
    if not ends or getattr(batches, 'drop_last', True) or iterations < len(loader):
        return size
    return len(sampler) % size or size


def norms_of_one_value(model: Any, batch: Any) -> list[str]:
    """Return the names of the batch norms that get one value per channel in training on a batch.

    SyncBN counts only in a run of one process. Models with another training step than mmengine's
    are not checked.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    if is_model_wrapper(model) or getattr(type(model), 'train_step', 0) != BaseModel.train_step:
        return []
    model.train()
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    found: list[str] = []
    handles = []
    for name, norm in norms.items():
        if norm.training and (get_world_size() == 1 or not isinstance(norm, nn.SyncBatchNorm)):
            handles.append(norm.register_forward_pre_hook(partial(_look, name, found)))
    if handles:
        for norm in norms.values():
            norm.eval()
        model._run_forward(model.data_preprocessor(batch, training=True), mode='loss')
        model.train()
    for handle in handles:
        handle.remove()
    return found


def _look(name: str, found: list[str], norm: nn.Module, inputs: Sequence[Tensor]) -> None:
    if inputs[0].numel() == inputs[0].shape[1]:
        found.append(name)


def _message(found: list[str], batches: Any) -> str:
    names = ', '.join(found[:_NAMED])
    if len(found) > _NAMED:
        names += f' and {len(found) - _NAMED} more'
    if batches.batch_size == 1:
        which, remedy = 'batches', 'set train_dataloader.batch_size to 2 or more'
    else:
        which = f'last batch of an epoch, {len(batches.sampler)} images by {batches.batch_size},'
        remedy = 'set drop_last=True, or another train_dataloader.batch_size'
    return (
        f'batch norm: expected 2 or more values per channel in training, found 1 in {names} '
        f'({which} of 1 image per process); {remedy}, choose another norm_cfg such as GN, or train '
        'with SyncBN on several GPUs'
    )


def share_statistics(models: Iterable[nn.Module]) -> None:
    """Give all processes the first process's buffers: a checkpoint has the first's.

    Plain batch norms have other running statistics in each process.
    """
    for model in models:
        for buffer in model.buffers():
            broadcast(buffer)
