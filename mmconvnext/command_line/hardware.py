"""What a config must give up on a machine without an accelerator."""

import gc
import os
from collections.abc import Iterator

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from mmconvnext.errors import UserError


def fit_to_hardware(config: Config) -> list[str]:
    """Make a config, in place, run here: without an accelerator in float32, plain BN, over gloo.

    Returns notices for the log. Apple's mps counts as no accelerator: it has neither mmengine's
    mixed precision nor SyncBN.

    Raises:
        UserError: the launcher cannot work here.
    """
    if config.get('launcher') == 'pytorch':
        _require_torchrun()
    if get_device() not in ('cpu', 'mps'):
        return []
    notices = []
    # AmpOptimWrapper asserts that there is an accelerator.
    if config.get('optim_wrapper', {}).get('type') == 'AmpOptimWrapper':
        disable_amp(config)
        notices = ['No accelerator here: training in float32 instead of mixed precision']
    # SyncBatchNorm refuses CPU tensors as soon as there is more than one process.
    replaced = [one for one in _dicts(config.get('model', {})) if one.get('type') == 'SyncBN']
    for norm in replaced:
        norm['type'] = 'BN'
    if replaced:
        notices.append('No accelerator here: BN instead of SyncBN')
    return [*notices, *_gloo(config)]


def disable_amp(config: Config) -> None:
    """Replace ``AmpOptimWrapper`` by ``OptimWrapper``."""
    config.optim_wrapper.type = 'OptimWrapper'
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        config.optim_wrapper.pop(option, None)


def _dicts(value: object) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _dicts(item)


def _gloo(config: Config) -> list[str]:
    if config.get('launcher', 'none') == 'none':
        return []
    if config.launcher != 'pytorch':
        raise UserError(
            f'--launcher: expected pytorch (torchrun) on machines without an accelerator, got '
            f'{config.launcher}'
        )
    # mmengine would call torch.cuda.set_device and hand DDP a GPU's number.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = ConfigDict(type='MMDistributedDataParallel', broadcast_buffers=False)
    wrapper.update(config.get('model_wrapper_cfg') or {}, device_ids=None)
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    config.model_wrapper_cfg = wrapper
    return ['No accelerator here: processes talk over gloo']


def _require_torchrun() -> None:
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher pytorch: expected the environment of torchrun, {", ".join(missing)} '
            'not set; start with: torchrun --nproc-per-node N tools/train.py CONFIG --launcher '
            'pytorch'
        )


def leave_process_group() -> None:
    """End the processes' communication before the interpreter goes; nothing with one process.

    Left to the interpreter's end, a thread of gloo now and then aborts a process whose work is
    done (pytorch warns of it where it can). A model that is distributed holds on to them: call
    this where nothing holds on to the runner any more.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # a runner and its hooks hold on to each other
        torch.distributed.destroy_process_group()
