"""Adapt a config to a machine without an accelerator."""

import gc
import os

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from mmconvnext.config_types import nested_dicts
from mmconvnext.errors import UserError


def fit_to_hardware(config: Config) -> list[str]:
    """Adapt a config to this machine in place: without an accelerator float32, BN and gloo.

    Returns notices for the log. Apple's mps does not count as an accelerator, because mmengine's
    mixed precision and SyncBN do not support it.

    Raises:
        UserError: the launcher does not work on this machine.
    """
    if config.get('launcher') == 'pytorch':
        _require_torchrun()
    if get_device() not in ('cpu', 'mps'):
        return []
    notices = []
    # AmpOptimWrapper requires an accelerator.
    if config.get('optim_wrapper', {}).get('type') == 'AmpOptimWrapper':
        disable_amp(config)
        notices = ['No accelerator found: training in float32 instead of mixed precision']
    # SyncBatchNorm refuses CPU tensors if there is more than one process.
    replaced = [one for one in nested_dicts(config.get('model', {})) if one.get('type') == 'SyncBN']
    for norm in replaced:
        norm['type'] = 'BN'
    if config.pop('sync_bn', None) or replaced:
        notices.append('No accelerator found: BN instead of SyncBN')
    return [*notices, *_gloo(config)]


def disable_amp(config: Config) -> None:
    """Replace ``AmpOptimWrapper`` by ``OptimWrapper``."""
    config.optim_wrapper.type = 'OptimWrapper'
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        config.optim_wrapper.pop(option, None)


def _gloo(config: Config) -> list[str]:
    if config.get('launcher', 'none') == 'none':
        return []
    if config.launcher != 'pytorch':
        raise UserError(
            f'--launcher: expected pytorch (torchrun) on machines without an accelerator, got '
            f'{config.launcher}'
        )
    # mmengine would call torch.cuda.set_device and pass a GPU's number to DDP.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = ConfigDict(type='MMDistributedDataParallel', broadcast_buffers=False)
    wrapper.update(config.get('model_wrapper_cfg') or {}, device_ids=None)
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    config.model_wrapper_cfg = wrapper
    return ['No accelerator found: processes communicate over gloo']


def _require_torchrun() -> None:
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher pytorch: expected the environment of torchrun, {", ".join(missing)} '
            'not set; start with: torchrun --nproc-per-node N tools/train.py CONFIG --launcher '
            'pytorch'
        )


def leave_process_group() -> None:
    """Close the communication between processes before the interpreter exits.

    Otherwise a gloo thread sometimes aborts a process that has finished its work (PyTorch warns
    about this if it can). A distributed model keeps the communication open: call this when
    nothing references the runner any more. With one process it does nothing.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # a runner and its hooks reference each other
        torch.distributed.destroy_process_group()
