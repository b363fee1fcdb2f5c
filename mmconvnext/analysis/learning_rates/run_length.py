"""Find the number of training iterations of a config, without training."""

import copy
import io
import math
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmconvnext.config_types import wrapped_datasets
from mmconvnext.data.checks import require_data
from mmconvnext.errors import UserError, first_line

# A dataset with a larger annotation file is not opened just for its length.
CHEAP_BYTES = 50 << 20
# Iterations of an epoch of unknown length; warm-ups take at most half of the run.
ASSUMED = 1000
_WARM_UPS = ('LinearLR', 'ConstantLR', 'LinearParamScheduler', 'ConstantParamScheduler')


class RunLength(NamedTuple):
    """Iterations of a run; ``per_epoch`` is None if the run is not counted in epochs."""

    iterations: int
    per_epoch: int | None = None
    notice: str = ''  # how the iterations of an epoch were found
    assumed: bool = False

    @property
    def epochs(self) -> int:
        return self.iterations // self.per_epoch if self.per_epoch else 0


def run_length(config: Config, *, per_epoch: int | None = None, processes: int = 1) -> RunLength:
    """Return the length of a config's run with this number of ``processes``.

    If it is counted in epochs, the iterations of an epoch are ``per_epoch``, or those of the
    dataset if it exists and is quick to open, or else an assumption; the notice says which. Raises
    UserError if the config has no training length.
    """
    train: Any = config.get('train_cfg') or {}
    if train.get('max_iters'):
        return RunLength(train.max_iters)
    if not train.get('max_epochs'):
        raise UserError(
            'train_cfg: expected max_iters or max_epochs in the config, got '
            f'{", ".join(train) or "none"}'
        )
    notice, assumed = f'{per_epoch} iterations an epoch, as given', False
    if per_epoch is None:
        try:
            images = _count_images(config)
            per_epoch = _batches(images, config.train_dataloader, processes)
            notice = f'{per_epoch} iterations an epoch: {images} images'
        except UserError as error:
            per_epoch, assumed = _assume(config, train.max_epochs), True
            notice = (
                f'iterations of an epoch unknown ({error}): {per_epoch} assumed; give '
                '--iters-per-epoch'
            )
    return RunLength(train.max_epochs * per_epoch, per_epoch, notice, assumed)


def _count_images(config: Config) -> int:
    """Return the length of the training set, filtered and wrapped as in training."""
    if not (config.get('train_dataloader') or {}).get('dataset'):
        raise UserError('the config has no train_dataloader')
    try:
        require_data(config, 'train')
    except UserError:
        raise UserError('the data are not there') from None
    dataset = copy.deepcopy(config.train_dataloader.dataset)
    for part in wrapped_datasets(dataset):
        part['pipeline'] = []
        path = Path(part.get('data_root') or '') / (part.get('ann_file') or '')
        if path.is_file() and path.stat().st_size > CHEAP_BYTES:
            raise UserError(f'{path.name} is large')
    init_default_scope(config.get('default_scope', 'mmengine'))
    try:
        # pycocotools prints its progress to stdout.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            return len(DATASETS.build(dataset))
    except Exception as error:  # a dataset may contain any code
        raise UserError(
            f'the dataset cannot be opened, {type(error).__name__}: {first_line(error)}'
        ) from error


def _batches(images: int, loader: Mapping[str, Any], processes: int) -> int:
    each = math.ceil(images / processes)
    batch = loader.get('batch_size', 1)
    return max(1, each // batch if loader.get('drop_last') else math.ceil(each / batch))


def _assume(config: Config, epochs: int) -> int:
    """Return a number of iterations per epoch that suits the schedulers counting iterations."""
    schedulers = config.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    by_iteration = [one for one in schedulers if not one.get('by_epoch', True) and one.get('end')]
    whole = [one.end for one in by_iteration if one.type not in _WARM_UPS]
    if whole:  # a scheduler lasts until the end of the run; the 1 is mmengine's, see the configs
        return max(1, math.ceil((max(whole) - 1) / epochs))
    return max([ASSUMED, *(2 * (one.end - 1) for one in by_iteration)])
