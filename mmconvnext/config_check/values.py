"""Values that are impossible wherever they stand in a config."""

import math
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from mmengine.runner.priority import Priority

_HIGH = sys.float_info.max  # infinity is not possible
# Other packages may give a name another meaning.
_JUDGED = ('builtins', 'mmcv', 'mmconvnext', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'torch')


class Possible(NamedTuple):
    """Whether a value is possible, and the possible values in words."""

    words: str
    includes: Callable[[object], bool]


def _each(words: str, is_possible: Callable[[Any], bool]) -> Possible:
    """Return the scalars that pass a test, lists of them, and anything else."""

    def includes(value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(map(includes, value))
        return not isinstance(value, bool | int | float | str) or is_possible(value)

    return Possible(words, includes)


def _numbers(
    words: str, low: float, high: float = _HIGH, *excluded: float, whole: bool = False
) -> Possible:
    def is_possible(value: Any) -> bool:
        if isinstance(value, bool | str) or not low <= value <= high or value in excluded:
            return False
        return not whole or value == int(value)

    return _each(words, is_possible)


def _whole(low: int, high: float = _HIGH) -> Possible:
    to = ' or more' if high == _HIGH else f' to {high:,}'
    return _numbers(f'a whole number, {low}{to}', low, high, whole=True)


def _one_of(*words: str) -> Possible:
    return _each(f'one of {", ".join(words)}', lambda value: value in words)


def _of_type(words: str, *types: type) -> Possible:
    """Return the values of some types, None and objects that are no plain data."""
    plain = (bool, int, float, str, list, tuple, dict)
    return Possible(words, lambda value: isinstance(value, types) or not isinstance(value, plain))


_POSITIVE = _numbers('a positive number', 0, _HIGH, 0)
_NOT_NEGATIVE = _numbers('a number, 0 or more', 0)
_FRACTION = _numbers('a number from 0 to 1', 0, 1)
_RATE = _numbers('a number in [0, 1)', 0, 1, 1)
_PRIORITY = _each(
    'a number from 0 to 100, LOW, NORMAL, HIGH, …',
    lambda value: value in range(101) or str(value).upper() in Priority.__members__,
)
_DROPOUT = _numbers('a number in [0, 1), or -1 for none', -1, 1, 1)
_SIZE = _whole(1, 65_536)
_INTERVAL = _numbers('a whole number, 1 or more, or -1 for never', -1, _HIGH, 0, whole=True)
_DICT = _of_type('a dict', dict)

# By the key, as a pattern, perhaps after the name of the class that gets it. The limits are far
# above any use; beyond them a run takes all memory, or never starts, before it fails.
_POSSIBLE = {
    r'(tta_)?model|\w+_dataloader|optim_wrapper|default_hooks|randomness|\w+_cfg': _DICT,
    r'auto_scale_lr|log_processor|visualizer|default_hooks\.\w+': _DICT,
    r'\w+_dataloader\.(dataset|sampler)|optim_wrapper\.(optimizer|clip_grad|paramwise_cfg)': _DICT,
    r'param_scheduler': _of_type('a list of dicts', dict, list, tuple),
    r'custom_hooks': _of_type('a list of dicts', list, tuple),
    r'optim_wrapper\.paramwise_cfg\.custom_keys(\.[^.]+)?': _DICT,
    r'compile': _of_type('True, False or a dict', bool, dict),
    r'\w+_dataloader\.batch_size': _SIZE,
    r'\w+_dataloader\.num_workers': _whole(0, 1_024),
    r'\w+_dataloader\.prefetch_factor': _whole(1, 1_024),
    r'(train|val|test)_dataloader\.dataset\.(.+\.)?crop_size': _SIZE,
    r'\w+_dataloader\.dataset\.(.+\.)?(cat_max_ratio|prob)': _FRACTION,
    r'\w+_dataloader\.timeout': _NOT_NEGATIVE,
    r'\w+_dataloader\.(.+\.)?color_type': _one_of(
        *('color', 'grayscale', 'unchanged', 'color_ignore_orientation'),
        'grayscale_ignore_orientation',
    ),
    r'\w+_dataloader\.(.+\.)?imdecode_backend': _one_of('cv2', 'turbojpeg', 'pillow', 'tifffile'),
    r'IoUMetric .+\.iou_metrics': _one_of('mIoU', 'mDice', 'mFscore'),
    r'CocoMetric .+\.metric': _one_of('bbox', 'segm', 'proposal', 'proposal_fast'),
    r'CocoMetric .+\.iou_thrs': _FRACTION,
    r'randomness\.seed': _whole(0, 2**32 - 1),
    r'train_cfg\.(max_iters|max_epochs|val_interval)': _whole(1),
    r'train_cfg\.val_begin': _whole(0),
    r'(default|custom)_hooks\.\w+\.interval': _INTERVAL,
    r'(default|custom)_hooks\.\w+\.priority': _PRIORITY,
    r'(default|custom)_hooks\.\w+\.rule': _one_of('greater', 'less'),
    r'custom_hooks\.\d+\.momentum': _numbers('a number between 0 and 1', 0, 1, 0, 1),
    r'log_processor\.window_size': _whole(1),
    r'auto_scale_lr\.base_batch_size': _SIZE,
    r'optim_wrapper\.(.+\.)?optimizer\.lr': _POSITIVE,
    r'optim_wrapper\.(.+\.)?(weight_decay|eps)': _NOT_NEGATIVE,
    r'optim_wrapper\.(.+\.)?momentum': _RATE,
    r'optim_wrapper\.(.+\.)?betas': Possible(
        'two numbers in [0, 1)', lambda v: isinstance(v, list | tuple) and _RATE.includes(v)
    ),
    r'optim_wrapper\.dtype': _one_of('float16', 'bfloat16', 'float32', 'float64'),
    r'optim_wrapper\.loss_scale': Possible(
        "a positive number, 'dynamic' or a dict", lambda v: v == 'dynamic' or _POSITIVE.includes(v)
    ),
    r'optim_wrapper\.accumulative_counts': _whole(1),
    r'optim_wrapper\.clip_grad\.(max_norm|clip_value)': _numbers(
        'a positive number', 0, math.inf, 0
    ),
    r'optim_wrapper\.paramwise_cfg\.decay_rate': _numbers('a number in (0, 1]', 0, 1, 0),
    r'optim_wrapper\.paramwise_cfg\.\w+_mult': _NOT_NEGATIVE,
    r'param_scheduler\.(.+\.)?begin': _whole(0),
    r'param_scheduler\.(.+\.)?(start_factor|gamma)': _POSITIVE,
    r'param_scheduler\.(.+\.)?(milestones|T_max|step_size)': _whole(1),
    r'model\.(.+\.)?((in|out)_)?channels': _SIZE,
    r'model\.(.+\.)?\w+_channels': _whole(0, 65_536),
    r'model\.(.+\.)?num_classes': _whole(1, 1_000_000),
    r'model\.(.+\.)?(drop_path_rate|drop_rate)': _RATE,
    r'model\.(.+\.)?dropout_ratio': _DROPOUT,
    r'model\.(.+\.)?std': _POSITIVE,
    r'model\.test_cfg\.(crop_size|stride)': _SIZE,
    r'model\.test_cfg\.(.+\.)?(score_thr|iou_threshold|mask_thr_binary)': _numbers(
        'a number from -1 to 1', -1, 1
    ),
    r'model\.test_cfg\.mode': _one_of('slide', 'whole', 'slide_flip'),
    r'model\.(.+\.)?(nms_pre|max_per_img|mask_size)': _whole(-1),
    r'model\.(.+\.)?nms\.type': _one_of('nms', 'soft_nms', 'nms_rotated', 'nms_quadri'),
    r'env_cfg\.cudnn_benchmark|auto_scale_lr\.enable|train_cfg\.by_epoch': _of_type(
        'True or False', bool
    ),
    r'env_cfg\.mp_cfg\.mp_start_method': _one_of('fork', 'spawn', 'forkserver'),
    r'env_cfg\.mp_cfg\.opencv_num_threads': _whole(0, 1_024),
    r'launcher': _one_of('none', 'pytorch', 'slurm', 'mpi'),
    r'log_level': _one_of('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'NOTSET'),
}
_PATTERNS = [(re.compile(pattern).fullmatch, possible) for pattern, possible in _POSSIBLE.items()]


def impossible(key: str, value: object, owner: object = None) -> str:
    """Return what is possible at a key such as ``'randomness.seed'`` if the value is not, or ''.

    ``owner`` is the class that gets the value; those of unknown packages may take anything.
    """
    if getattr(owner, '__module__', 'builtins').split('.')[0] not in _JUDGED:
        return ''
    place = f'{getattr(owner, "__name__", "")} {key}'
    found = (possible for matches, possible in _PATTERNS if matches(key) or matches(place))
    return next((possible.words for possible in found if not possible.includes(value)), '')
