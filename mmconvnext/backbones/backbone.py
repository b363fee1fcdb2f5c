"""What the backbones of this package have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mmengine.model import BaseModule, initialize
from mmengine.model.weight_init import PretrainedInit
from torch import nn

from mmconvnext.backbones.arguments import STAGES
from mmconvnext.checkpoints.load import read_init_cfg
from mmconvnext.errors import ArgumentError


class Backbone(BaseModule):
    """A backbone of four stages that draws its weights or loads them strictly.

    A subclass sets ``channels`` of the four stages, ``out_indices`` and ``stages``, and says how
    a file is loaded and what is frozen.
    """

    channels: tuple[int, ...]
    out_indices: tuple[int, ...]
    stages: nn.ModuleList
    # What an ``init_cfg`` of type 'Pretrained' may say beside the checkpoint.
    LOADING_OPTIONS: ClassVar[tuple[str, ...]] = ('prefix', 'ema', 'sha256')
    # Containers with an entry for each stage that is built.
    STAGE_PARTS: ClassVar[tuple[str, ...]] = ('stages',)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the maps that are returned, in their order."""
        return tuple(self.channels[stage] for stage in self.out_indices)

    def init_weights(self) -> None:
        """Draw the weights, or load the file that ``init_cfg`` names.

        Raises:
            CheckpointError: the file is missing, unsafe, or does not fit the model, which is
                then as it was, but for other schemes of a list of them in ``init_cfg``.
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

    def _load(self, checkpoint: str, options: Mapping[str, Any]) -> None:
        """Load a file strictly, but for :meth:`_new` and :meth:`_unused`."""
        raise NotImplementedError

    def _new(self) -> list[str]:
        """Beginnings of the names that a file may lack: fine-tuning starts output norms anew."""
        return [f'norm{stage}.' for stage in self.out_indices]

    def _unused(self) -> list[str]:
        """Beginnings of names that have no use here: a classifier's top, and what is not built."""
        unbuilt = range(len(self.stages), STAGES)
        return [
            *('norm.', 'head.'),
            *(f'norm{stage}.' for stage in range(STAGES) if stage not in self.out_indices),
            *(f'{part}.{stage}.' for stage in unbuilt for part in self.STAGE_PARTS),
        ]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)

    def _frozen_modules(self) -> list[nn.Module]:
        """Modules of the frozen stages, which stay in eval mode."""
        raise NotImplementedError

    def _require_last_map_alone(self) -> None:
        last = STAGES - 1
        if self.out_indices != (last,):
            raise ArgumentError(
                f'out_indices: expected ({last},) under a classifier, which uses the last map '
                f'alone, got {self.out_indices}'
            )


def _draw(module: nn.Module) -> None:
    # The official code's; biases where there are such.
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
