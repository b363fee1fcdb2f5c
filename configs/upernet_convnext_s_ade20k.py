"""UperNet, ConvNeXt-S (ImageNet-1K), ADE20K, 512² crops, 160k iterations.

Published: mIoU 48.7 single-scale, 49.6 multi-scale + flip; 82M parameters, 1027G FLOPs at
2048×512 (arXiv 2201.03545, table 4; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_small_1k_224.pth
Published model: https://dl.fbaipublicfiles.com/convnext/ade20k/upernet_convnext_small_1k_512x512.pth
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/upernet_convnext_s_ade20k.py 8
"""

_base_ = [
    '_base_/models/upernet_convnext.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/upernet_160k.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_small_1k_224.pth',
        ),
    ),
)
