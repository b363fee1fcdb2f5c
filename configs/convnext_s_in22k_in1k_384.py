"""ConvNeXt-S, ImageNet-22K, then ImageNet-1K at 384², 30 epochs of fine-tuning.

Published: top-1 85.8; 50M parameters, 25.5G FLOPs at 384² (arXiv 2201.03545, README of its code;
facebookresearch/ConvNeXt @048efce). Not reproduced here.
Its TRAINING.md begins at B, the rest is ours: drop path 0.1 continues the series, else as B.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_small_22k_224.pth
Published model: https://dl.fbaipublicfiles.com/convnext/convnext_small_22k_1k_384.pth
8 GPUs × 16 images × 4 iterations = 512, float32:
    tools/dist_train.sh configs/convnext_s_in22k_in1k_384.py 8
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/imagenet_384.py',
    '_base_/schedules/imagenet_30e.py',
    '_base_/classification_runtime.py',
]
model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_small_22k_224.pth',
        ),
    ),
    head_init_scale=0.001,
    mixing=None,
)
