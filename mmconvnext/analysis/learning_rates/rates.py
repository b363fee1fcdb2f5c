"""The learning rates of a config: of every group of parameters, and of every iteration.

Nothing is trained: the model has no memory, and the optimizer nothing to step.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmconvnext.analysis.cost.complexity import build_on_meta
from mmconvnext.errors import UserError, first_line

_LAYER = re.compile(r'layer_(\d+)_')


class Group(NamedTuple):
    """Parameters that share their layer id, learning rate and weight decay."""

    layer: int | None  # id, 0 at the stem; None without layer decay
    names: list[str]
    lr_scale: float  # of the config's learning rate
    lr: float
    weight_decay: float
    parameters: int  # numbers in them


class Rates(NamedTuple):
    """All groups, the stem's first, and what the optimizer leaves out."""

    groups: list[Group]
    base_lr: float  # of the config, times the factor
    factor: float  # what the batch size multiplies all learning rates by
    left_out: list[str]  # names of parameters that are not trained
    notices: list[str]


def count_rates(config: Config, *, processes: int = 1) -> Rates:
    """The parameter groups that a config's optimizer wrapper is built with.

    Groups that a constructor makes for each parameter alone are put together where they agree.

    Args:
        config: With any constructor of parameter groups, or none; ``auto_scale_lr.enable`` is
            heeded.
        processes: That train together, as ``tools/dist_train.sh`` starts them.

    Raises:
        UserError: the model or the optimizer cannot be built.
    """
    wrapper = _wrapper_config(config)
    model = build_on_meta(config)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            built = build_optim_wrapper(model, wrapper).optimizer.param_groups
    except UserError:
        raise
    except Exception as error:  # a constructor is anybody's code
        raise UserError(
            f'optim_wrapper of the config, optimizer {wrapper.optimizer.get("type")}: cannot be '
            f'built, {type(error).__name__} ({first_line(error)})'
        ) from error
    base_lr = wrapper.optimizer.get('lr', max(group['lr'] for group in built))
    factor = _batch_factor(config, processes)
    groups = _merge(model, built, base_lr, factor)
    used = {name for group in groups for name in group.names}
    left_out = [
        name
        for name, parameter in model.named_parameters()
        if name not in used or not parameter.requires_grad
    ]
    notices = [first_line(one.message) for one in caught if 'paramwise_cfg' in str(one.message)]
    return Rates(groups, base_lr * factor, factor, left_out, notices)


def _batch_factor(config: Config, processes: int) -> float:
    scaling = config.get('auto_scale_lr') or {}
    if not scaling.get('enable'):
        return 1.0
    if 'base_batch_size' not in scaling:
        raise UserError('auto_scale_lr: expected base_batch_size in the config, got none')
    batch = (config.get('train_dataloader') or {}).get('batch_size', 1)
    return batch * processes / scaling.base_batch_size


def _wrapper_config(config: Config) -> ConfigDict:
    """What decides on groups, without mixed precision, which needs a GPU."""
    wrapper = config.get('optim_wrapper') or {}
    if 'optimizer' not in wrapper:
        raise UserError(
            'optim_wrapper: expected one optimizer in the config, got '
            f'{", ".join(wrapper) or "none"}'
        )
    kept = ('optimizer', 'constructor', 'paramwise_cfg')
    return ConfigDict(type='OptimWrapper', **{key: wrapper[key] for key in kept if key in wrapper})


def _merge(
    model: nn.Module, built: Iterable[Mapping], base_lr: float, factor: float
) -> list[Group]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    merged: dict[tuple, Group] = {}
    for group in built:
        match = _LAYER.match(group.get('group_name', ''))
        lr, decay = group['lr'], group.get('weight_decay', 0.0)
        key = (int(match[1]) if match else None, lr, decay)
        scale = lr / base_lr if base_lr else 1.0
        start = Group(key[0], [], scale, lr * factor, decay, 0)
        one = merged.setdefault(key, start)
        one.names.extend(names[parameter] for parameter in group['params'])
        count = sum(parameter.numel() for parameter in group['params'])
        merged[key] = one._replace(parameters=one.parameters + count)
    return sorted(
        merged.values(),
        key=lambda one: (-1 if one.layer is None else one.layer, one.lr, one.weight_decay),
    )


def layer_names(groups: Iterable[Group], group: Group) -> list[str]:
    """Short names for what a group is of: modules, as far up as they are of its layer alone.

    Neighbouring numbers are put together: ``stages.0-2``; where there are no layers, and a group is
    scattered, ``*`` stands for any number.
    """
    others = [
        name
        for one in groups
        if one is not group
        and (one.layer is None or one.layer != group.layer or one.lr != group.lr)
        for name in one.names
    ]
    taken = {part for name in others for part in _prefixes(name)}
    tops = (next(part for part in _prefixes(name) if part not in taken) for name in group.names)
    if group.layer is None:
        return list(dict.fromkeys(re.sub(r'\b\d+\b', '*', top) for top in tops))
    return _join_numbers(list(dict.fromkeys(tops)))


def _prefixes(name: str) -> list[str]:
    parts = name.split('.')
    return ['.'.join(parts[:end]) for end in range(1, len(parts) + 1)]


def _join_numbers(names: list[str]) -> list[str]:
    """``a.0``, ``a.1``, ``a.2`` as ``a.0-2``."""
    joined: list[str] = []
    for name in names:
        match = re.fullmatch(r'(.*?)(\d+)', name)
        last = re.fullmatch(r'(.*?)(\d+)(-\d+)?', joined[-1]) if joined else None
        if match and last and last[1] == match[1]:
            end = int((last[3] or f'-{last[2]}')[1:])
            if int(match[2]) == end + 1:
                joined[-1] = f'{last[1]}{last[2]}-{match[2]}'
                continue
        joined.append(name)
    return joined


def explain(config: Config, rates: Rates) -> str:
    """One sentence on what ``decay_type``, ``num_layers`` and ``decay_rate`` make of the rates."""
    layers = [group.layer for group in rates.groups if group.layer is not None]
    if not layers:
        return (
            'No layer decay: the learning rate depends on no layer id, so that decay_type and '
            'num_layers do nothing.'
        )
    options = config.optim_wrapper.get('paramwise_cfg') or {}
    last, slowest = max(layers), min(group.lr_scale for group in rates.groups)
    rate, kind = options.get('decay_rate'), options.get('decay_type', 'layer_wise')
    if rate is None or not _is_convnext(rates):
        return (
            f'The backbone counts its own layers, from 0 at the stem to {last} at the heads; the '
            f"stem learns at {slowest:.3g} of the heads' rate, and num_layers does nothing."
        )
    ids = {
        'stage_wise': 'all downsampling layers id 0 and the stages 1 to 4',
        'layer_wise': 'the stem id 0, the first two stages 1 and 2, every three blocks of the '
        f'third stage one id from 3 on, and the fourth stage {last - 1}',
        'block_wise': f'every block an id of its own, 1 to {last - 1}, and the stem 1',
    }[kind]
    heads = 'the heads have' if kind == 'block_wise' else f'num_layers={last - 1} puts the heads at'
    stem = last - (kind == 'block_wise')
    end, above = {
        'stage_wise': ('last stage', last - 4),
        'layer_wise': ('last stage', 1),
        'block_wise': ('last block', 1),
    }[kind]
    return (
        f"decay_type='{kind}' gives {ids}; {heads} id {last}, so that, with decay_rate={rate}, the "
        f'stem learns at {rate}^{stem} = {rate**stem:.3g} and the {end} at {rate}^{above} = '
        f"{rate**above:.3g} of the heads' rate"
        f'{"; custom_keys come on top" if options.get("custom_keys") else ""}.'
    )


def _is_convnext(rates: Rates) -> bool:
    return any('downsample_layers.' in name for group in rates.groups for name in group.names)
