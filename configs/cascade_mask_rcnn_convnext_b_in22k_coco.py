"""Cascade Mask R-CNN, ConvNeXt-B (ImageNet-22K), COCO, 36 epochs.

Published: box AP 54.0, mask AP 46.9; 146M parameters, 964G FLOPs at 1280×800
(arXiv 2201.03545, table 3; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth
Published model:
    https://dl.fbaipublicfiles.com/convnext/coco/cascade_mask_rcnn_convnext_base_22k_3x.pth
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/cascade_mask_rcnn_convnext_b_in22k_coco.py 8
"""

_base_ = [
    '_base_/models/cascade_mask_rcnn_convnext.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/detection_36e.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth',
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.8))
