"""What the command line changes in a config.

Each function changes the config in place; those that have something to tell return notices for
the log.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import find_latest_checkpoint

from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.checkpoints.load import read_checkpoint
from mmconvnext.errors import UserError
from mmconvnext.running.hardware import disable_amp


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that training and testing have in common, named as in mmdet and mmseg."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='logs and results go here; work_dirs/CONFIG by default')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, such as train_dataloader.batch_size=4',
    )
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='who '
        'starts the processes: pytorch is torchrun',
    )  # fmt: skip
    # torch.distributed.launch passes one spelling or the other, depending on its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the '
                        'launcher')  # fmt: skip


def load_config(arguments: argparse.Namespace) -> Config:
    """Read the config file and apply the shared arguments.

    Raises:
        UserError: the file is missing or is no config.
    """
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    if not Path(arguments.config).is_file():
        raise UserError(f'{arguments.config}: no such config file; see configs/ for those there')
    try:
        config = Config.fromfile(arguments.config)
        config.merge_from_dict(arguments.cfg_options or {})
    except (SyntaxError, KeyError, TypeError, OSError) as error:
        raise UserError(f'{arguments.config}: not a usable config: {error}') from error
    config.launcher = arguments.launcher
    config.work_dir = (
        arguments.work_dir
        or config.get('work_dir')
        or str(Path('work_dirs') / Path(arguments.config).stem)
    )
    return config


def force_safe_loading() -> None:
    """Make every ``torch.load`` of this process read weights only, mmengine's included.

    Raises:
        UserError: the environment asks for the opposite.
    """
    if os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '0').lower() in ('1', 'y', 'yes', 'true'):
        raise UserError(
            'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, which lets a checkpoint run code; unset it: '
            'checkpoints written here load without it'
        )
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'


def set_precision(config: Config, amp: bool | None) -> None:
    """Turn mixed precision on or off; None leaves the config's choice.

    Raises:
        UserError: the optimizer wrapper is one that has no mixed-precision form.
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
    """Seed Python, numpy and torch on every process."""
    if seed is not None:
        config.randomness = ConfigDict(config.get('randomness') or {}, seed=seed)


def set_learning_rate_scaling(config: Config) -> None:
    """Scale the learning rate by the total batch size over ``auto_scale_lr.base_batch_size``.

    Raises:
        UserError: the config does not say for which batch size its learning rate is.
    """
    if 'base_batch_size' not in config.get('auto_scale_lr', {}):
        raise UserError('--auto-scale-lr: expected auto_scale_lr.base_batch_size in the config')
    config.auto_scale_lr.enable = True


def set_pretrained(config: Config, pretrained: str | None) -> list[str]:
    """Choose the backbone's weights, and see to it that the chosen ones are on this machine.

    Args:
        config: A config whose model has a ``backbone`` somewhere.
        pretrained: A file, a URL, ``'none'``, or None for the config's own choice.

    Raises:
        UserError: the model has no backbone to give weights to.
        CheckpointError: the weights are missing and could not be downloaded, or are unsafe.
    """
    backbones = list(_backbones(config.model))
    if pretrained is not None and not backbones:
        raise UserError('--pretrained: expected a model with a backbone, the config has none')
    for backbone in backbones:
        if pretrained == 'none':
            backbone.init_cfg = None
        elif pretrained is not None:
            backbone.init_cfg = ConfigDict(type='Pretrained', checkpoint=pretrained)
        init = backbone.get('init_cfg')
        if backbone.type == 'mmconvnext.ConvNeXt' and isinstance(init, dict):
            read_checkpoint(init.checkpoint, map_location='meta')
    if pretrained == 'none':
        return ['NO PRETRAINED WEIGHTS: the backbone starts from scratch (--pretrained none)']
    return []


def _backbones(model: ConfigDict) -> Iterator[ConfigDict]:
    for name, value in model.items():
        if isinstance(value, dict):
            if name == 'backbone':
                yield value
            else:
                yield from _backbones(value)


def set_resume(config: Config, resume: str | None) -> list[str]:
    """Go on from a checkpoint.

    Args:
        config: A config with its ``work_dir``.
        resume: A file or URL, ``'auto'`` for the last checkpoint in the work dir if there is
            one, or None.

    Raises:
        CheckpointError: the checkpoint is missing, unreadable or unsafe.
    """
    if resume is None:
        return []
    if resume == 'auto':
        resume = find_latest_checkpoint(config.work_dir)
        if resume is None:
            return [f'Nothing to resume in {config.work_dir}: starting from the beginning']
    set_checkpoint(config, resume)
    config.resume = True
    # Its weights are all in the checkpoint: nothing else need be there or be downloaded.
    for backbone in _backbones(config.model):
        backbone.init_cfg = None
    return [f'Resuming from {resume}']


def set_checkpoint(config: Config, checkpoint: str) -> None:
    """Load a whole model's weights, which must fit it completely.

    Raises:
        CheckpointError: the checkpoint is missing, unreadable or unsafe.
    """
    path = fetch(checkpoint)
    read_checkpoint(str(path), map_location='meta')  # its structure alone, which is quick
    config.load_from = str(path)
    config.custom_hooks = [
        *config.get('custom_hooks', []),
        ConfigDict(type='mmconvnext.StrictLoadingHook'),
    ]


def set_tta(config: Config) -> None:
    """Test with augmentation, as the config's ``tta_model`` and ``tta_pipeline`` say.

    Raises:
        UserError: the config has none.
    """
    missing = [name for name in ('tta_model', 'tta_pipeline') if name not in config]
    if missing:
        raise UserError(f'--tta: expected {" and ".join(missing)} in the config')
    config.test_dataloader.dataset.pipeline = config.tta_pipeline
    config.model = ConfigDict(**config.tta_model, module=config.model)


def set_pictures(config: Config, folder: str) -> None:
    """Write a picture of every prediction.

    Raises:
        UserError: the config's visualization hook is none that is known here.
    """
    hook = config.get('default_hooks', {}).get('visualization') or {}
    folder_option = {
        'mmconvnext.SegmentationPictureHook': 'out_dir',
        'DetVisualizationHook': 'test_out_dir',
        'mmdet.DetVisualizationHook': 'test_out_dir',
    }.get(hook.get('type'))
    if folder_option is None:
        raise UserError(
            '--show-dir: expected default_hooks.visualization of type '
            f'mmconvnext.SegmentationPictureHook or DetVisualizationHook, got {hook.get("type")}'
        )
    hook.update({'draw': True, folder_option: str(Path(folder).absolute())})


def set_predictions(config: Config, out: str) -> None:
    """Keep the predictions: pickled where ``out`` ends in .pkl, else as files in a folder.

    A folder gets one label PNG a picture (IoUMetric, ids as in the annotations) or COCO's json
    files (CocoMetric).

    Raises:
        UserError: no metric of the config can write predictions.
    """
    if out.endswith(('.pkl', '.pickle')):
        detection = config.get('default_scope') == 'mmdet'
        kind = 'mmdet.DumpDetResults' if detection else 'DumpResults'
        evaluators = config.test_evaluator
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        config.test_evaluator = [*evaluators, ConfigDict(type=kind, out_file_path=out)]
        return
    evaluators = config.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        kind = evaluator.type.split('.')[-1]
        if kind == 'IoUMetric':
            evaluator.output_dir = out
            return
        if kind == 'CocoMetric':
            evaluator.outfile_prefix = str(Path(out) / 'predictions')
            return
    raise UserError('--out: expected IoUMetric or CocoMetric as test_evaluator, or a .pkl file')
