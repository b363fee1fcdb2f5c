"""What is built from each place of a config."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

#: Entries of a config that mmengine or the tools read. All others are variables of the file.
READ = {
    *inspect.signature(Runner.__init__).parameters,
    *('compile', 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn', 'runner_type'),
    *('custom_imports', 'tta_model', 'tta_pipeline', 'strategy'),
    *('activation_checkpointing', 'efficient_conv_bn_eval'),
} - {'self', 'cfg'}
#: Variables that resemble one of these.
VARIABLES = ('train_pipeline', 'val_pipeline', 'test_pipeline')
#: Entries that mmengine 0 read, and what replaced them. Many files still have an unused
#: 'optimizer' or 'cudnn_benchmark'.
FORMER = {
    'checkpoint_config': 'default_hooks.checkpoint',
    'data': 'train_dataloader',
    'evaluation': 'train_cfg.val_interval',
    'log_config': 'default_hooks.logger',
    'lr_config': 'param_scheduler',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'runner': 'train_cfg',
    'workflow': 'train_cfg.val_interval',
}
#: Entries that a run needs together.
TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
#: Hooks that a config need not have.
DEFAULT_HOOKS = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    *('visualization', 'step_watch', 'interruption'),
)
#: Names that a message does not offer: the run gives these arguments.
GIVEN = ('self', 'runner', 'dataloader', 'params', 'parameters', 'type', '_scope_')

# The registries of the classes below each entry, in the order of search.
_HOOKS = ('HOOKS', 'TRANSFORMS', 'MODELS', 'METRICS')
_DATA = ('DATASETS', 'TRANSFORMS', 'DATA_SAMPLERS', 'FUNCTIONS')
_REGISTRIES = {
    r'.*\binit_cfg\b.*': ('WEIGHT_INITIALIZERS',),
    r'((tta_)?model|data_preprocessor)\b.*': ('MODELS', 'TASK_UTILS'),
    r'tta_pipeline\b.*': ('TRANSFORMS',),
    r'\w+_dataloader\b.*': _DATA,
    r'\w+_evaluator\b.*': ('METRICS', 'EVALUATOR'),
    r'optim_wrapper\.constructor': ('OPTIM_WRAPPER_CONSTRUCTORS',),
    r'runner_type': ('RUNNERS',),
    r'optim_wrapper\b.*': ('OPTIM_WRAPPERS', 'OPTIMIZERS'),
    r'param_scheduler\b.*': ('PARAM_SCHEDULERS',),
    r'(default|custom)_hooks\b.*': _HOOKS,
    r'visualizer\b.*': ('VISUALIZERS', 'VISBACKENDS'),
    r'log_processor': ('LOG_PROCESSORS',),
    r'(train|val|test)_cfg': ('LOOPS',),
}
#: Values that name a class.
NAMED_CLASSES = ('optim_wrapper.constructor', 'runner_type')
#: Arguments that name the class which gets the ``**kwargs``.
FORWARDING = {'resize_type': 'TRANSFORMS', 'ema_type': 'MODELS'}

#: Classes that take types of another library.
UNVISITED = ('Albu',)

# Their `type` is not a registered class.
_UNREGISTERED = re.compile(
    r'.*\.(nms|nms_cfg|roi_layer|upsample_cfg|worker_init_fn)|model_wrapper_cfg'
)

# What is built from an entry without `type`.
_DEFAULTS: dict[str, Any] = {
    r'\w+_dataloader': DataLoader,
    r'randomness': Runner.set_randomness,
    r'optim_wrapper': 'OptimWrapper',
    r'val_cfg': 'ValLoop',
    r'test_cfg': 'TestLoop',
    r'log_processor': 'LogProcessor',
    r'default_hooks\.step_watch': 'mmconvnext.StepWatchHook',
    r'default_hooks\.interruption': 'mmconvnext.InterruptionHook',
}
_NEEDS_TYPE = re.compile(
    r'model|model\.(backbone|neck|decode_head|rpn_head|roi_head|data_preprocessor)'
    r'|\w+_dataloader\.(dataset|sampler|batch_sampler|dataset\.pipeline\.\d+)|\w+_evaluator(\.\d+)?'
    r'|(default|custom)_hooks\.\w+|param_scheduler\.\d+|visualizer|optim_wrapper\.optimizer'
)

_REGISTERED = re.compile(
    r'model\..*\b(\w+_head|backbone|neck|loss_\w+|\w+_(coder|generator|extractor))(\.\d+)?'
    r'|model\..*\b(assigner|sampler|norm_cfg|init_cfg)(\.\d+)?|visualizer\.vis_backends\.\d+'
    r'|optim_wrapper|(train|val|test)_cfg|log_processor'
)

# Taken out of an entry before its class is built.
_TAKEN_BEFORE = {
    r'.*': ('type', '_scope_'),
    r'\w+_dataloader': ('num_batch_per_epoch', 'disable_subprocess_warning'),
    r'(default|custom)_hooks\.\w+': ('priority',),
    r'optim_wrapper': ('constructor', 'paramwise_cfg'),
    r'param_scheduler\..*': ('convert_to_iter_based', 'epoch_length'),
    r'train_cfg': ('by_epoch',),
    r'.*norm_cfg': ('requires_grad',),
    r'.*\.dcn': ('fallback_on_stride', 'deformable_groups'),
    r'.*\.loss_cls': ('bg_cls_weight',),  # by DETR's head
    r'.*\binit_cfg\b.*': ('override', 'layer', 'name'),
}


def kind_at(key: str, entry: Mapping) -> Any:
    """Return the class that an entry becomes, or its name; None if it stays a dict."""
    if key == 'optim_wrapper.clip_grad':
        by_value = entry.get('type') == 'value'
        return nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
    if 'type' in entry:
        return None if _UNREGISTERED.fullmatch(key) else entry['type']
    if key == 'train_cfg':
        return 'EpochBasedTrainLoop' if entry.get('by_epoch') else 'IterBasedTrainLoop'
    return next((kind for pattern, kind in _DEFAULTS.items() if re.fullmatch(pattern, key)), None)


def registries_at(key: str) -> tuple[str, ...]:
    """Return the names of mmengine's registries that build what stands at a key."""
    found = (names for pattern, names in _REGISTRIES.items() if re.fullmatch(pattern, key))
    return next(found, ())


def needs_type(key: str) -> bool:
    """Return whether an entry without ``type`` cannot be built."""
    return bool(_NEEDS_TYPE.fullmatch(key))


def is_registered(key: str) -> bool:
    """Return whether a class that is named at a key must be one of a registry."""
    place = key.removesuffix('.type')
    return key in NAMED_CLASSES or needs_type(place) or bool(_REGISTERED.fullmatch(place))


def taken_before(key: str) -> Iterator[str]:
    """Yield the names that an entry may have besides the arguments of its class."""
    for pattern, names in _TAKEN_BEFORE.items():
        if re.fullmatch(pattern, key):
            yield from names
