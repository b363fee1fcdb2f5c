"""Entries of a config that no class's arguments describe: their keys, by hand."""

import re
from inspect import Parameter

from mmconvnext.config_check.arguments import Arguments

_MULTIPLES = (
    'custom_keys bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult dwconv_decay_mult '
    'dcn_offset_lr_mult bypass_duplicate'
)
_LAYER_DECAY = 'decay_rate decay_type num_layers custom_keys'
_POINTS = 'num_points oversample_ratio importance_sample_ratio'
_REFINED = 'scale_factor subdivision_steps subdivision_num_points'
_ASSIGNED = 'assigner sampler pos_weight debug'
_NMS = 'iou_thr class_agnostic max_num split_thr score_threshold sigma min_score method offset'

# By the key of the entry, as a pattern; a key after a class name is that of a config with such a
# constructor of the optimizer wrapper, or with a model of a class derived from it. '...' means
# that other keys are taken too.
_TABLE = {
    r'env_cfg': 'cudnn_benchmark mp_cfg dist_cfg resource_limit',
    r'env_cfg\.mp_cfg': 'mp_start_method opencv_num_threads',
    r'env_cfg\.dist_cfg': 'backend timeout init_method world_size rank ...',
    r'auto_scale_lr': 'enable base_batch_size',
    r'custom_imports': 'imports allow_failed_imports',
    r'optim_wrapper\.paramwise_cfg\.custom_keys\..+': 'lr_mult decay_mult ...',
    r'(\w+_dataloader|model)\.(.+\.)?metainfo': 'classes palette ...',
    r'\w+_dataloader\.(.+\.)?data_prefix': 'img img_path seg seg_map_path ...',
    r'\w+_dataloader\.(.+\.)?filter_cfg': 'filter_empty_gt min_size ...',
    r'model\.(.+\.)?(nms|nms_cfg)': f'type iou_threshold nms_thr {_NMS}',
    r'model\.(.+\.)?roi_layer': 'type output_size sampling_ratio ...',
    r'DefaultOptimWrapperConstructor optim_wrapper\.paramwise_cfg': _MULTIPLES,
    r'LayerDecayOptimWrapperConstructor optim_wrapper\.paramwise_cfg': _LAYER_DECAY,
    r'LearningRateDecayOptimizerConstructor optim_wrapper\.paramwise_cfg': (
        f'{_LAYER_DECAY} {_MULTIPLES}'
    ),
    r'BaseSegmentor model\.test_cfg': f'mode crop_size stride seg_logits {_REFINED}',
    r'BaseSegmentor model\.train_cfg': f'assigner sampler {_POINTS}',
    r'TwoStageDetector model\.train_cfg': 'rpn rpn_proposal rcnn',
    r'TwoStageDetector model\.test_cfg': 'rpn rcnn panoptic',
    r'TwoStageDetector model\.train_cfg\.rpn': (
        f'{_ASSIGNED} allowed_border ga_assigner ga_sampler center_ratio ignore_ratio'
    ),
    r'TwoStageDetector model\.(train_cfg\.rpn_proposal|test_cfg\.rpn)': (
        'nms_pre nms_post max_per_img nms min_bbox_size'
    ),
    r'TwoStageDetector model\.train_cfg\.rcnn(\.\d+)?': (
        f'{_ASSIGNED} {_POINTS} mask_size mask_thr_binary pos_radius max_num_grid dynamic_rcnn isr '
        'carl'
    ),
    r'TwoStageDetector model\.test_cfg\.rcnn': (
        f'score_thr nms max_per_img mask_thr_binary {_REFINED}'
    ),
}


def free_entry(key: str, classes: set[str]) -> Arguments:
    """Return what the entry at a key such as ``'model.test_cfg'`` takes.

    If it takes other keys too, a slip of a known key is still a mistake. ``classes`` are the
    optimizer wrapper's constructor, the model's class and its ancestors.
    """
    places = [key, *(f'{name} {key}' for name in classes)]
    found = (t for p, t in _TABLE.items() if any(re.fullmatch(p, place) for place in places))
    names = next(found, '...').split()
    named = {name: Parameter(name, Parameter.KEYWORD_ONLY) for name in names if name != '...'}
    return Arguments(named, '...' in names)
