"""Layer-wise learning-rate decay: the learning rate grows from the stem to the heads.

Every parameter gets a layer id, the lowest at the stem. Its learning rate is the base rate times
``decay_rate ** (last id - id)``. Heads and output norms have the last id and the factor 1.
"""

import inspect
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIMIZERS
from torch import nn

from mmconvnext.errors import ArgumentError
from mmconvnext.layer_ids import block_wise, layer_wise, stage_wise, suited_layers
from mmconvnext.registry import OPTIM_WRAPPER_CONSTRUCTORS

_OPTIONS = ('decay_rate', 'decay_type', 'num_layers', 'custom_keys')
_DECAY_TYPES = ('layer_wise', 'stage_wise', 'block_wise')


class LayerPosition(NamedTuple):
    """A parameter's layer id, and the last id, which the heads have."""

    layer: int
    last: int


_Positions = dict[str, LayerPosition]  # by the parameter's name


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds an optimizer wrapper whose learning rates decay from the heads to the stem.

    ``paramwise_cfg`` takes:

    - ``decay_rate``: The factor from one layer id to the one before, in (0, 1].
    - ``decay_type``: ``'layer_wise'`` (the paper's COCO recipes; default), ``'stage_wise'``
      (its ADE20K recipes; ConvNeXt only) or ``'block_wise'`` (V2's recipes of ImageNet-1K, atto
      to T; ConvNeXt only).
    - ``num_layers``: N in the table below; ConvNeXt only, not for block_wise. Default: 12 if the
      third stage has more than 9 blocks, else 6, as in the paper; other values warn.
    - ``custom_keys``: As in mmengine: ``{part of a name: dict(lr_mult=…, decay_mult=…, …)}``; the
      longest match counts. The factors multiply the layer's learning rate and weight decay;
      options of the optimizer, such as ``betas``, are set in the parameter group.

    Ids of a ConvNeXt, where b counts the blocks of a stage; block_wise for depths 3, 3, 9, 3::

        parameter            layer_wise, N = 6  layer_wise, N = 12  stage_wise  block_wise
        downsample_layers.0  0                  0                   0           1
        stages.0.b           1                  1                   1           1 + b
        downsample_layers.1  2                  2                   0           4
        stages.1.b           2                  2                   2           4 + b
        downsample_layers.2  3                  3                   0           7
        stages.2.b           3 + b // 3         3 + b // 3          3           7 + b
        downsample_layers.3  6                  12                  0           16
        stages.3.b           6                  12                  4           16 + b
        all else             7                  13                  N + 1       19

    Other backbones are supported, with layer_wise, if they have
    ``get_layer_depth(param_name, prefix) -> (id, count)``. Backbones are found anywhere in the
    model. Biases and parameters of one dimension, including GRN and layer scale, have no weight
    decay. For the sources of the ids see :mod:`mmconvnext.layer_ids`.

    Raises:
        TypeError: ``paramwise_cfg`` is not a dict.
        ArgumentError: (a ValueError) an option is unknown, out of range, or does not apply to
            the model.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        config = self.paramwise_cfg
        if unknown := sorted(set(config) - set(_OPTIONS)):
            raise ArgumentError(
                f'paramwise_cfg: expected {", ".join(_OPTIONS)}, got {", ".join(unknown)}; '
                'put factors for single parameters into custom_keys'
            )
        rate = config.get('decay_rate')
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ArgumentError(f'paramwise_cfg: expected decay_rate in (0, 1], got {rate!r}')
        if self._decay_type not in _DECAY_TYPES:
            raise ArgumentError(
                f'paramwise_cfg: expected decay_type {", ".join(map(repr, _DECAY_TYPES))}, '
                f'got {self._decay_type!r}'
            )
        layers = config.get('num_layers')
        if layers is not None and (not isinstance(layers, int) or layers < 3):
            raise ArgumentError(f'paramwise_cfg: expected num_layers of 3 or more, got {layers!r}')
        if layers is not None and self._decay_type == 'block_wise':
            raise ArgumentError(
                "paramwise_cfg: expected no num_layers with decay_type='block_wise', where every "
                f'block has an id, got {layers}'
            )
        if self.base_lr is None or self.base_wd is None:
            raise ArgumentError('optimizer: expected lr and weight_decay to be given, got none')

    def add_params(self, params: list[dict], module: nn.Module, **kwargs: object) -> None:
        """Add every trainable parameter of ``module`` to exactly one new group of ``params``.

        The heads' groups come first, so that the rate of group 0, which mmengine logs, is the
        base rate.
        """
        trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        positions = self._positions(module, list(trainable))
        custom = self._custom_settings(list(trainable))
        groups: dict[tuple, dict] = {}
        for name, parameter in trainable.items():
            settings = self._settings(name, parameter.ndim, positions[name], custom.get(name, {}))
            key = tuple(sorted((option, repr(value)) for option, value in settings.items()))
            group = groups.setdefault(key, {**settings, 'params': [], 'param_names': []})
            group['params'].append(parameter)
            group['param_names'].append(name)
        params.extend(sorted(groups.values(), key=lambda group: -group['lr_scale']))
        self._check_coverage(params, module)
        print_log(self._summary(params), logger='current')

    def _settings(
        self, name: str, ndim: int, position: LayerPosition, custom: Mapping[str, Any]
    ) -> dict:
        decay = 0.0 if ndim == 1 or name.endswith('.bias') else self.base_wd
        scale = self.paramwise_cfg['decay_rate'] ** (position.last - position.layer)
        return {
            **custom,
            'group_name': f'layer_{position.layer}_{"decay" if decay else "no_decay"}',
            'lr_scale': scale,
            'lr': scale * self.base_lr * custom.get('lr_mult', 1.0),
            'weight_decay': decay * custom.get('decay_mult', 1.0),
        }

    def _custom_settings(self, names: list[str]) -> dict[str, Mapping[str, Any]]:
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        if not custom_keys:
            return {}
        by_length = sorted(sorted(custom_keys), key=len, reverse=True)
        matches = {name: next((k for k in by_length if k in name), None) for name in names}
        if unused := [key for key in by_length if not any(key in name for name in names)]:
            raise ArgumentError(
                f'paramwise_cfg: expected each of custom_keys to be part of the name of a '
                f'trainable parameter, got {unused}; names look like {names[:2]}'
            )
        self._check_custom_entries(custom_keys)
        return {name: custom_keys[key] for name, key in matches.items() if key is not None}

    def _check_custom_entries(self, custom_keys: Mapping[str, Mapping[str, object]]) -> None:
        # ZeroRedundancyOptimizer names the optimizer of each process's part.
        kind = self.optimizer_cfg.get('optimizer_type', self.optimizer_cfg['type'])
        with OPTIMIZERS.switch_scope_and_registry(None) as registry:
            optimizer = registry.get(kind) if isinstance(kind, str) else kind
        own = set(inspect.signature(optimizer).parameters) - {'params', 'lr', 'weight_decay'}
        for key, entries in custom_keys.items():
            if unknown := sorted(set(entries) - own - {'lr_mult', 'decay_mult'}):
                raise ArgumentError(
                    f'paramwise_cfg: expected lr_mult, decay_mult or options of {kind} in '
                    f'custom_keys[{key!r}], got {", ".join(unknown)}'
                )

    def _positions(self, model: nn.Module, names: list[str]) -> _Positions:
        backbones = _find_backbones(model)
        if not backbones:
            raise ArgumentError(
                'layer decay: expected a backbone with downsample_layers, stages and depths, or '
                'with get_layer_depth; the model has none'
            )
        positions: _Positions = {}
        for prefix, backbone in backbones:
            inside = [name for name in names if name.startswith(prefix)]
            found = self._convnext_positions if _is_convnext(backbone) else self._depth_positions
            positions |= found(prefix, backbone, inside)
        # Parameters outside all backbones, the heads, have the last id and the factor 1.
        last = max((position.last for position in positions.values()), default=0)
        return {name: positions.get(name, LayerPosition(last, last)) for name in names}

    def _convnext_positions(self, prefix: str, backbone: Any, names: list[str]) -> _Positions:
        depths = tuple(backbone.depths)
        if self._decay_type == 'block_wise':
            layers, layer_of = sum(depths), partial(block_wise, depths=depths)
        else:
            layers = self._num_layers(depths)
            kind = stage_wise if self._decay_type == 'stage_wise' else layer_wise
            layer_of = partial(kind, layers=layers)
        return {name: LayerPosition(layer_of(name[len(prefix) :]), layers + 1) for name in names}

    def _num_layers(self, depths: tuple[int, ...]) -> int:
        """Return the given N, or the paper's N for the depths; warn if they differ."""
        suited = suited_layers(depths)
        layers = self.paramwise_cfg.get('num_layers') or suited
        deepest = layer_wise(f'stages.2.{depths[2] - 1}', layers)
        problem = None
        if layers != suited:
            problem = f'the paper uses {suited}'
        elif self._decay_type == 'layer_wise' and deepest > layers + 1:
            problem = f'blocks would learn faster than the heads; expected {deepest} or more'
        if problem:
            warnings.warn(
                f'paramwise_cfg: num_layers={layers} does not suit depths {depths}: {problem}',
                stacklevel=2,
            )
        return layers

    @property
    def _decay_type(self) -> str:
        return self.paramwise_cfg.get('decay_type', 'layer_wise')

    def _depth_positions(self, prefix: str, backbone: Any, names: list[str]) -> _Positions:
        kind = type(backbone).__name__
        if self._decay_type != 'layer_wise':
            raise ArgumentError(
                f"paramwise_cfg: expected decay_type='layer_wise' with {kind}, got "
                f'{self._decay_type!r}, which is defined for ConvNeXt alone'
            )
        if self.paramwise_cfg.get('num_layers') is not None:
            raise ArgumentError(
                f'paramwise_cfg: num_layers is for ConvNeXt; {kind} counts its own layers in '
                'get_layer_depth, leave it out'
            )
        depths = {name: backbone.get_layer_depth(name, prefix) for name in names}
        return {name: LayerPosition(depth, count - 1) for name, (depth, count) in depths.items()}

    @staticmethod
    def _check_coverage(params: list[dict], module: nn.Module) -> None:
        grouped = sorted(id(parameter) for group in params for parameter in group['params'])
        trainable = [id(p) for p in module.parameters() if p.requires_grad]
        if grouped != sorted(trainable):
            raise ArgumentError(
                f'layer decay: expected every trainable parameter in exactly one group, got '
                f'{len(grouped)} places for {len(trainable)}'
            )

    def _summary(self, params: list[dict]) -> str:
        scales = [group['lr_scale'] for group in params]
        return (
            f'Layer decay: {self._decay_type}, rate '
            f'{self.paramwise_cfg["decay_rate"]}, {len(params)} groups; learning rates from '
            f'{max(scales) * self.base_lr:.4g} (heads) to {min(scales) * self.base_lr:.4g} (stem)'
        )


def _find_backbones(model: nn.Module, prefix: str = '') -> list[tuple[str, Any]]:
    """Return the innermost modules with layer ids, and the prefixes of their names."""
    if _is_convnext(model):
        return [(prefix, model)]
    inside = [
        found
        for name, child in model.named_children()
        for found in _find_backbones(child, f'{prefix}{name}.')
    ]
    # A classifier may forward `get_layer_depth` to its backbone.
    return inside or ([(prefix, model)] if hasattr(model, 'get_layer_depth') else [])


def _is_convnext(module: Any) -> bool:
    parts = ('downsample_layers', 'stages', 'depths')
    return all(hasattr(module, part) for part in parts) and len(module.depths) == 4
