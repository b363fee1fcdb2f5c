"""The base class of all backbones in this package."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mmengine.model import BaseModule, initialize
from mmengine.model.weight_init import PretrainedInit
from torch import nn

from mmconvnext.backbones.arguments import STAGES
from mmconvnext.checkpoints.load import load, read_init_cfg
from mmconvnext.errors import ArgumentError
from mmconvnext.layer_ids import layer_wise

_NO_NORM = nn.Identity()


class Backbone(BaseModule):
    """A backbone of four stages that initialises its weights randomly or loads them strictly.

    A subclass sets ``channels`` of the four stages, ``out_indices``, ``frozen_stages`` and
    ``stages``; its output norms are ``norm0`` to ``norm3``.
    """

    channels: tuple[int, ...]
    out_indices: tuple[int, ...]
    frozen_stages: int
    stages: nn.ModuleList
    STEM: ClassVar[str]  # the stem's name
    # Options of an ``init_cfg`` of type 'Pretrained', besides the checkpoint.
    LOADING_OPTIONS: ClassVar[tuple[str, ...]] = ('prefix', 'ema', 'sha256')
    # Containers with an entry for each stage that is built.
    STAGE_PARTS: ClassVar[tuple[str, ...]]

    def __init__(self, init_cfg: dict | list[dict] | None) -> None:
        super().__init__(init_cfg=init_cfg)
        self._handed_over: list[nn.Module] = []  # in a list, so that they are not registered here

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each returned feature map."""
        return tuple(self.channels[stage] for stage in self.out_indices)

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each returned feature map, in input pixels."""
        return tuple(4 * 2**stage for stage in self.out_indices)

    def init_weights(self) -> None:
        """Initialise the weights randomly, or load the file that ``init_cfg`` names.

        Raises:
            CheckpointError: the file is missing, unsafe, or does not fit the model. The weights
                are then unchanged, except by earlier entries of an ``init_cfg`` that is a list.
        """
        if self._is_init:
            return
        configs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg]
        pretrained = [c for c in configs if c and c['type'] in ('Pretrained', PretrainedInit)]
        others = [c for c in configs if c and c not in pretrained]
        if others:
            initialize(self, others)
        if pretrained:
            self._load(*read_init_cfg(pretrained[-1], self.LOADING_OPTIONS))
        elif not others:
            self.apply(_draw)
        self._is_init: bool = True

    def take_last_norm(self) -> nn.Module:
        """Return the last stage's output norm and stop applying it in ``forward``.

        A classifier applies this norm after the pooling, as in the papers. An ``init_cfg`` of
        type ``'Pretrained'`` still loads the norm if the file has it, as the official fine-tuning
        does, for other classes too.

        Raises:
            ArgumentError: (a ValueError) ``out_indices`` is not the last stage alone; the norms
                of other maps would be unused.
        """
        last = STAGES - 1
        if self.out_indices != (last,):
            raise ArgumentError(
                f'out_indices: expected ({last},) under a classifier, which uses the last map '
                f'alone, got {self.out_indices}'
            )
        if not self._handed_over:
            self._handed_over.append(self._classifier_norm())
            if hasattr(self, 'norm3'):
                del self.norm3
        return self._handed_over[0]

    def _classifier_norm(self) -> nn.Module:
        return self._output_norm(STAGES - 1)

    def _output_norm(self, stage: int) -> nn.Module:
        return getattr(self, f'norm{stage}', _NO_NORM)

    def _load(self, checkpoint: str, options: Mapping[str, Any]) -> None:
        """Load a file strictly, with the exceptions of :meth:`_new` and :meth:`_unused`."""
        options = {**options, 'new': self._new(), 'unused': self._unused()}
        norms = [norm for norm in self._handed_over if not isinstance(norm, nn.Identity)]
        if not norms:
            load(self, checkpoint, **options)
            return
        self.norm3 = norms[0]  # so that it is loaded with the rest
        try:
            load(self, checkpoint, **{'norm3': 'from_file', **options})
        finally:
            del self.norm3

    def _new(self) -> list[str]:
        """Return prefixes of names that a file may lack: output norms, which fine-tuning adds."""
        return [f'norm{stage}.' for stage in self.out_indices]

    def _unused(self) -> list[str]:
        """Return prefixes of names that are ignored: the classifier's head and stages not built."""
        unbuilt = range(len(self.stages), STAGES)
        return [
            *('norm.', 'head.'),
            *(f'norm{stage}.' for stage in range(STAGES) if stage not in self.out_indices),
            *(f'{part}.{stage}.' for stage in unbuilt for part in self.STAGE_PARTS),
        ]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Like ``nn.Module.train``, but frozen parts stay in eval mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        modules = [self.get_submodule(self.STEM)]
        for stage in range(min(self.frozen_stages, len(self.stages))):
            parts = (f'{part}.{stage}' for part in self.STAGE_PARTS)
            modules += [*map(self.get_submodule, parts), self._output_norm(stage)]
        return modules

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the layer id of a parameter, for layer-wise learning-rate decay, and their number.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: Prefix of this backbone's parameters there, such as ``'backbone.'``.

        Returns:
            (depth, count): depth 0 is the stem, ``count - 1`` is everything after the last stage.
            The learning rate is multiplied by ``decay ** (count - 1 - depth)``.

        The ids are the ``layer_wise`` ones of :mod:`mmconvnext.layer_ids`; the form is that of
        mmpretrain 1.2.0's ``get_layer_depth``.
        """
        layers = self._layers()
        name = param_name[len(prefix) :] if param_name.startswith(prefix) else ''
        return layer_wise(self._convnext_name(name), layers), layers + 2

    def _layers(self) -> int:
        """Return the last layer id of the stages."""
        raise NotImplementedError

    def _convnext_name(self, name: str) -> str:
        """Return the parameter's ConvNeXt name, which determines its layer id."""
        return name


def _draw(module: nn.Module) -> None:
    # As in the official code; not every layer has a bias.
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
