"""ConvNeXt-T, ImageNet-22K, then ImageNet-1K at 384², 30 epochs of fine-tuning.

Published: top-1 84.1; 29M parameters, 13.1G FLOPs at 384² (arXiv 2201.03545, README of its code;
facebookresearch/ConvNeXt @048efce). Not reproduced here.
Its TRAINING.md begins at B, the rest is ours: drop path 0.0 continues the series, 6 layers decay.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_224.pth
Published model: https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_1k_384.pth
8 GPUs × 16 images × 4 iterations = 512, float32:
    tools/dist_train.sh configs/convnext_t_in22k_in1k_384.py 8
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/imagenet_384.py',
    '_base_/schedules/imagenet_30e.py',
    '_base_/classification_runtime.py',
]
model = dict(
    backbone=dict(
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_224.pth',
        ),
    ),
    head_init_scale=0.001,
    mixing=None,
)
