"""Fit a config to a number of GPUs: accumulation, learning rate and schedule."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config

from mmconvnext.analysis.learning_rates.rates import base_batch_size
from mmconvnext.errors import UserError


class BatchPlan(NamedTuple):
    """Images of an optimizer step, and the options that fit the config to them."""

    gpus: int
    batch: int  # images of an iteration on each GPU
    accumulation: int  # iterations of an optimizer step
    effective: int  # images of an optimizer step: gpus × batch × accumulation
    published: int  # images of an optimizer step that the config's learning rate is for
    auto_scale_lr: bool  # whether --auto-scale-lr is needed
    options: dict[str, object]  # entries of the config, for --cfg-options


def plan_batch(config: Config, gpus: int, batch: int) -> BatchPlan:
    """Return the accumulation that reaches the published images of a step, or the nearest below.

    If it does not reach them, the learning rate is scaled linearly, as by ``--auto-scale-lr``. The
    schedule is stretched so that the run sees as many images as published. Raises UserError if
    the config lacks ``auto_scale_lr.base_batch_size`` or an optimizer.
    """
    base = base_batch_size(config)  # of an iteration
    if 'optimizer' not in (config.get('optim_wrapper') or {}):
        raise UserError('optim_wrapper: expected one optimizer in the config, got none')
    counts = config.optim_wrapper.get('accumulative_counts', 1)
    published, total = base * counts, gpus * batch
    accumulation = max(1, published // total)
    effective = total * accumulation
    rescaled, same_counts = effective != published, accumulation == counts
    options: dict[str, object] = {'train_dataloader.batch_size': batch}
    if not same_counts:
        options['optim_wrapper.accumulative_counts'] = accumulation
        options.update(_averaging(config, counts, accumulation))
        if rescaled:  # --auto-scale-lr ignores accumulation
            rate = config.optim_wrapper.optimizer.lr * effective / published
            options['optim_wrapper.optimizer.lr'] = float(f'{rate:.6g}')
        if config.auto_scale_lr.get('enable'):
            options['auto_scale_lr.enable'] = False
    options.update(_stretched(config, base, total))
    auto = rescaled and same_counts
    return BatchPlan(gpus, batch, accumulation, effective, published, auto, options)


def _averaging(config: Config, before: int, now: int) -> Iterator[tuple[str, int]]:
    """Yield the intervals of averaged weights that are updated once a step."""
    for place, hook in enumerate(config.get('custom_hooks') or []):
        if hook.get('type') == 'EMAHook' and hook.get('interval', 1) == before:
            yield f'custom_hooks.{place}.interval', now


def _stretched(config: Config, base: int, total: int) -> Iterator[tuple[str, int]]:
    """Yield the entries that count iterations, for ``total`` images each instead of ``base``."""
    if base == total:
        return
    loop: Any = config.get('train_cfg') or {}
    if loop.get('max_iters'):
        yield 'train_cfg.max_iters', -(-loop.max_iters * base // total)  # rounded up
        intervals = {'train_cfg.val_interval': loop.get('val_interval')}
        checkpoint: Any = (config.get('default_hooks') or {}).get('checkpoint') or {}
        intervals['default_hooks.checkpoint.interval'] = checkpoint.get('interval')
        for key, interval in intervals.items():
            if interval and interval > 0:
                yield key, max(1, round(interval * base / total))
    given: Any = config.get('param_scheduler') or []
    single = isinstance(given, Mapping)
    for place, one in enumerate([given] if single else given):
        key = 'param_scheduler' if single else f'param_scheduler.{place}'
        for name in ('begin', 'end', 'T_max'):
            if not one.get('by_epoch', True) and one.get(name):
                # mmengine's schedulers reach their end one step early; see the configs.
                early = name != 'T_max'
                yield f'{key}.{name}', -((early - one[name]) * base // total) + early
