"""The learning rate of each parameter group of a config.

Nothing is trained: the model is on the meta device, and the optimizer never steps.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmconvnext.analysis.cost.complexity import build_on_meta, building
from mmconvnext.errors import UserError, first_line

_LAYER = re.compile(r'layer_(\d+)_')


class Group(NamedTuple):
    """Parameters that share their layer id, learning rate and weight decay."""

    layer: int | None  # id, 0 for the stem; None without layer decay
    names: list[str]
    lr_scale: float  # factor on the config's learning rate
    lr: float
    weight_decay: float
    parameters: int  # number of scalars


class Rates(NamedTuple):
    """All groups, the stem's first, and the parameters that are not trained."""

    groups: list[Group]
    base_lr: float  # the config's learning rate times the factor
    factor: float  # factor on all learning rates for the batch size
    left_out: list[str]  # names of parameters that are not trained
    notices: list[str]

    @property
    def layers(self) -> list[int]:
        """Return the layer ids, from the stem's; empty without layer decay."""
        return sorted({group.layer for group in self.groups if group.layer is not None})

    def ends(self) -> dict[str, float]:
        """Return the rates of the last and first layer's largest groups, else the extreme rates."""
        if not self.layers:
            every = [group.lr for group in self.groups]
            return {'largest': max(every), 'smallest': min(every)}
        by_size = sorted(self.groups, key=lambda group: group.parameters, reverse=True)
        largest = {group.layer: group.lr for group in reversed(by_size)}
        return {'heads': largest[self.layers[-1]], 'stem': largest[self.layers[0]]}


def count_rates(config: Config, *, processes: int = 1) -> Rates:
    """Return the parameter groups of a config's optimizer.

    Groups with one parameter each are merged if their settings are the same. ``processes`` is the
    number of training processes, for ``auto_scale_lr.enable``. Raises UserError if the model or
    the optimizer cannot be built.
    """
    wrapper = _wrapper_config(config)
    model = build_on_meta(config)
    what = f'optim_wrapper of the config, optimizer {wrapper.optimizer.get("type")}:'
    with building(what), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        built = build_optim_wrapper(model, wrapper).optimizer.param_groups
    base_lr = wrapper.optimizer.get('lr', max(group['lr'] for group in built))
    factor = _batch_factor(config, processes)
    groups = _merge(model, built, base_lr, factor)
    used = {name for group in groups for name in group.names}
    left_out = [
        name
        for name, parameter in model.named_parameters()
        if name not in used or not parameter.requires_grad
    ]
    messages = [one.message for one in caught if isinstance(one.message, Warning)]
    notices = [first_line(one) for one in messages if 'paramwise_cfg' in str(one)]
    return Rates(groups, base_lr * factor, factor, left_out, notices)


def base_batch_size(config: Config) -> int:
    """Return the images of an iteration, of all GPUs, that the config's learning rate is for.

    Raises UserError if the config does not say it.
    """
    scaling: Any = config.get('auto_scale_lr') or {}
    if 'base_batch_size' not in scaling:
        raise UserError('auto_scale_lr: expected base_batch_size in the config, got none')
    return scaling.base_batch_size


def _batch_factor(config: Config, processes: int) -> float:
    if not (config.get('auto_scale_lr') or {}).get('enable'):
        return 1.0
    batch = (config.get('train_dataloader') or {}).get('batch_size', 1)
    return batch * processes / base_batch_size(config)


def _wrapper_config(config: Config) -> ConfigDict:
    """Return the optimizer wrapper's config without what needs a GPU or several processes.

    That is mixed precision, and ZeroRedundancyOptimizer around the optimizer.
    """
    wrapper: Any = config.get('optim_wrapper') or {}
    if 'optimizer' not in wrapper:
        raise UserError(
            'optim_wrapper: expected one optimizer in the config, got '
            f'{", ".join(wrapper) or "none"}'
        )
    sharding = ('optimizer_type', 'parameters_as_bucket_view')
    optimizer = {k: value for k, value in wrapper.optimizer.items() if k not in sharding}
    if 'optimizer_type' in wrapper.optimizer:
        optimizer['type'] = wrapper.optimizer.optimizer_type
    others = {key: wrapper[key] for key in ('constructor', 'paramwise_cfg') if key in wrapper}
    return ConfigDict(type='OptimWrapper', optimizer=optimizer, **others)


def _merge(
    model: nn.Module, built: Iterable[Mapping[str, Any]], base_lr: float, factor: float
) -> list[Group]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    merged: dict[tuple[int, float, float], list[nn.Parameter]] = {}
    for group in built:
        match = _LAYER.match(group.get('group_name', ''))
        key = (int(match[1]) if match else -1, group['lr'], group.get('weight_decay', 0.0))
        merged.setdefault(key, []).extend(group['params'])
    return [
        Group(
            None if layer < 0 else layer,
            [names[one] for one in parameters],
            lr / base_lr if base_lr else 1.0,
            lr * factor,
            decay,
            sum(one.numel() for one in parameters),
        )
        for (layer, lr, decay), parameters in sorted(merged.items(), key=itemgetter(0))
    ]


def layer_names(groups: Iterable[Group], group: Group) -> list[str]:
    """Return short names of a group's modules: the largest modules that are all in its layer.

    Consecutive numbers are joined: ``stages.0-2``. Without layers, ``*`` stands for any number if a
    group is scattered.
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
    """Join ``a.0``, ``a.1``, ``a.2`` to ``a.0-2``."""
    joined: list[str] = []
    first, before, last = '', '', -1
    for name in names:
        start, number = re.split(r'(?<!\d)(?=\d*$)', name, maxsplit=1)
        if number and (before, last) == (start, int(number) - 1):
            joined[-1] = f'{first}-{number}'
        else:
            joined.append(name)
            first = name
        before, last = start, int(number or -1)
    return joined


def explain(config: Config, rates: Rates) -> str:
    """Return a sentence on the effect of ``decay_type``, ``num_layers`` and ``decay_rate``."""
    if not rates.layers:
        return (
            'No layer decay: the learning rate does not depend on the layer id, and decay_type and '
            'num_layers have no effect.'
        )
    options = config.optim_wrapper.get('paramwise_cfg') or {}
    last, slowest = rates.layers[-1], min(group.lr_scale for group in rates.groups)
    rate, kind = options.get('decay_rate'), options.get('decay_type', 'layer_wise')
    names = [name for group in rates.groups for name in group.names]
    if rate is None or not any('downsample_layers.' in name for name in names):
        return (
            f'The backbone counts its own layers, from 0 at the stem to {last} at the heads; the '
            f"stem learns at {slowest:.3g} of the heads' rate, and num_layers has no effect."
        )
    heads, end, stem, above = f'num_layers={last - 1} puts the heads at', 'last stage', last, 1
    if kind == 'stage_wise':
        ids, above = 'all downsampling layers id 0 and the stages 1 to 4', last - 4
    elif kind == 'layer_wise':
        ids = (
            'the stem id 0, the first two stages 1 and 2, every three blocks of the third stage '
            f'one id from 3 on, and the fourth stage {last - 1}'
        )
    else:
        ids = f'every block an id of its own, 1 to {last - 1}, and the stem 1'
        heads, end, stem = 'the heads have', 'last block', last - 1
    return (
        f"decay_type='{kind}' gives {ids}; {heads} id {last}, so that, with decay_rate={rate}, the "
        f'stem learns at {rate}^{stem} = {rate**stem:.3g} and the {end} at {rate}^{above} = '
        f"{rate**above:.3g} of the heads' rate"
        f'{"; custom_keys come on top" if options.get("custom_keys") else ""}.'
    )
