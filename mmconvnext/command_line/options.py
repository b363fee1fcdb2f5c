"""Apply the options of training and testing to a config.

Each function changes the config in place; some return notices for the log.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.command_line.hardware import disable_amp
from mmconvnext.command_line.overrides import override
from mmconvnext.config.config_file import read_config, unusable_config
from mmconvnext.config_check import did_you_mean, require_correct
from mmconvnext.config_check.places import FORMER, READ
from mmconvnext.config_check.variables import entries
from mmconvnext.errors import UserError

# Backbones and models that load their weights themselves, strictly.
_OURS = ('mmconvnext.ConvNeXt', 'mmconvnext.ImageClassifier', 'mmconvnext.RoadmapNet')


class _KeyValue(DictAction):
    """mmengine's KEY=VALUE parser, with argparse's error for arguments that it cannot parse."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, option: str = ''
    ) -> None:
        try:
            super().__call__(parser, namespace, values, option)
        except (ValueError, AssertionError, SyntaxError) as error:
            parser.error(f'{option}: expected KEY=VALUE, got {values} ({error})')


def positive(text: str) -> int:
    """Return an integer of 1 or more; a ``type`` for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number of 1 or more, got {text}')
    return int(text)


def seed(text: str) -> int:
    """Return a seed that numpy takes; a ``type`` for argparse."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f'expected a whole number below 2**32, got {text}')
    return int(text)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and its overrides: all arguments of a tool that runs no training or test."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_KeyValue,
        metavar='KEY=VALUE',
        help='override entries of the config, such as train_dataloader.batch_size=4',
    )


def add_config_check_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that turns the check of the config off."""
    parser.add_argument(
        '--config-check',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='check the keys, types and values of the config first; default: on',
    )


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shared arguments of training and testing, named as in mmdet and mmseg."""
    add_config_arguments(parser)
    add_config_check_argument(parser)
    parser.add_argument('--work-dir', help='folder of logs and results; default: work_dirs/CONFIG')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
        help='how processes are started; pytorch means torchrun',
    )  # fmt: skip
    # The spelling depends on the version of torch.distributed.launch.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the '
                        'launcher')  # fmt: skip


def load_config(arguments: argparse.Namespace, parts: Sequence[str] = ()) -> Config:
    """Read the config file and apply those shared arguments that the tool has.

    ``parts`` are the entries that the tool reads; default: all.

    Raises:
        UserError: the file is missing or is not a config.
        ConfigError: the tool has ``--config-check``, and the config has mistakes.
    """
    if hasattr(arguments, 'local_rank'):
        os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    config = read_config(arguments.config)
    given = getattr(arguments, 'cfg_options', None) or {}
    checked = getattr(arguments, 'config_check', True)
    _check_keys(config, given, variables=not checked)
    try:
        override(config, given)
    except Exception as error:  # a config is Python and may raise anything
        raise UserError(unusable_config(arguments.config, error)) from error
    if not isinstance(config.get('model'), dict):
        raise UserError(f'{arguments.config}: expected a config with a model, found none')
    if getattr(arguments, 'config_check', False):
        require_correct(config, parts)
    config.launcher = getattr(arguments, 'launcher', 'none')
    default = str(Path('work_dirs') / Path(arguments.config).stem)
    config.work_dir = getattr(arguments, 'work_dir', None) or config.get('work_dir') or default
    return config


def _check_keys(config: Config, options: dict, *, variables: bool) -> None:
    """Raise a UserError for an option without effect; ``variables`` allows those on a variable."""
    known = {*READ, 'data_root', 'data_hint', *(config if variables else ())}
    for key in options:
        root = key.split('.')[0]
        if root not in known:
            meant = FORMER.get(root) or ' or '.join(_replacements(config, key))
            hint = f'; did you mean {meant}?' if meant else did_you_mean(root, known)
            got = ', got a variable of the file, which was already used' if root in config else ''
            raise UserError(f'--cfg-options {key}: expected an entry that a run reads{got}{hint}')


def _replacements(config: Config, key: str) -> list[str]:
    """Return the keys of some entries that are copies of a variable, or have its name."""
    root, dot, rest = key.partition('.')
    value = config.get(root)
    places = [*entries({name: value for name, value in config.items() if name in READ})]
    copies = [at for at, entry in places if value and isinstance(value, list) and entry == value]
    found = copies or [at for at, _ in places if at.endswith(f'.{root}')]
    return [f'{at}{dot}{rest}' for at in found[:3]]


def force_safe_loading() -> None:
    """Make every ``torch.load`` of this process read weights only, mmengine's included.

    Raises:
        UserError: an environment variable demands the opposite.
    """
    if os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '0').lower() in ('1', 'y', 'yes', 'true'):
        raise UserError(
            'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, which lets a checkpoint run code; unset it: '
            'checkpoints of this package load without it'
        )
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'


def set_precision(config: Config, amp: bool | None) -> None:
    """Turn mixed precision on or off; None keeps the config's choice.

    Raises:
        UserError: the optimizer wrapper has no mixed-precision form.
    """
    if amp is None:
        return
    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UserError(
            f'--amp: expected an optim_wrapper of type OptimWrapper or AmpOptimWrapper, got {kind}'
        )
    if amp:
        config.optim_wrapper.type = 'AmpOptimWrapper'
    else:
        disable_amp(config)


def set_seed(config: Config, seed: int | None) -> None:
    """Seed Python, numpy and torch in every process."""
    if seed is not None:
        config.randomness = ConfigDict(config.get('randomness') or {}, seed=seed)


def set_learning_rate_scaling(config: Config) -> None:
    """Multiply the learning rate by total batch size / ``auto_scale_lr.base_batch_size``.

    Raises:
        UserError: the config does not have ``base_batch_size``.
    """
    if 'base_batch_size' not in (config.get('auto_scale_lr') or {}):
        raise UserError('--auto-scale-lr: expected auto_scale_lr.base_batch_size in the config')
    config.auto_scale_lr.enable = True


def set_pretrained(config: Config, pretrained: str | None) -> list[str]:
    """Set the backbone's weights, and download them if necessary.

    ``pretrained`` is a file, a URL, ``'none'``, or None for the config's choice.

    Raises:
        UserError: the model has no backbone.
        CheckpointError: the weights are missing and could not be downloaded, or are unsafe.
    """
    found = list(backbones(config.model))
    if pretrained is not None:
        if not found:
            raise UserError('--pretrained: expected a model with a backbone, found none in config')
        config.model.pop('init_cfg', None)  # a whole model's file would override this file
        for backbone in found:
            scratch = pretrained == 'none'
            backbone.init_cfg = None if scratch else _with_checkpoint(backbone, pretrained)
    for part in (*found, config.model):
        for entry in _pretrained_entries(part):
            if not entry.get('checkpoint'):
                raise UserError("init_cfg of type 'Pretrained': expected a checkpoint, got none")
            read_checkpoint(entry.checkpoint, 'meta', entry.get('sha256'))
    if pretrained == 'none':
        return ['NO PRETRAINED WEIGHTS: the backbone trains from scratch (--pretrained none)']
    return []


def backbones(model: ConfigDict) -> Iterator[ConfigDict]:
    """Yield the ``backbone`` entries of a model's config, at any depth."""
    for name, value in model.items():
        if isinstance(value, dict):
            if name == 'backbone':
                yield value
            else:
                yield from backbones(value)


def _pretrained_entries(model: ConfigDict) -> Iterator[ConfigDict]:
    """Yield the entries whose weights a backbone or classifier of this package loads."""
    init = model.get('init_cfg') or []
    for entry in init if isinstance(init, list) else [init]:
        if model.get('type') in _OURS and entry.get('type') == 'Pretrained':
            yield entry


def _with_checkpoint(backbone: ConfigDict, checkpoint: str) -> ConfigDict:
    # The config's options apply to any file, except for the hash.
    kept = ConfigDict()
    for entry in _pretrained_entries(backbone):
        kept.update(entry)
    kept.pop('sha256', None)
    return ConfigDict(kept, type='Pretrained', checkpoint=checkpoint)
