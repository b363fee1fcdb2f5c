"""UperNet, ConvNeXt-T (ImageNet-1K), ADE20K, 512² crops, 160k iterations.

Published: mIoU 46.0 single-scale, 46.7 multi-scale + flip; 60M parameters, 939G FLOPs at
2048×512 (arXiv 2201.03545, table 4; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth
Published model: https://dl.fbaipublicfiles.com/convnext/ade20k/upernet_convnext_tiny_1k_512x512.pth
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/upernet_convnext_t_ade20k.py 8
"""

_base_ = [
    '_base_/models/upernet_convnext.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/upernet_160k.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth',
        ),
    ),
)
