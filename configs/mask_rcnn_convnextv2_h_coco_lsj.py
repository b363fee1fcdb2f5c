"""Mask R-CNN, ConvNeXt V2-H (FCMAE), COCO, large-scale jittering, 36 epochs.

Published: box AP 55.7, mask AP 48.9 at test with soft-NMS; 2525G FLOPs at 1280×800 (arXiv
2301.00808). Not reproduced here. The paper gives ranges for two values; ours are those of mmdet
3.3.0, projects/ConvNeXt-V2, for B: decay .95 (of .9, .95), drop path .4 (of .2 to .5). Ours in
the same way: layer-wise decay over 12 layers, warm-up of 1000 iterations, milestones, mixed
precision, hard NMS of proposals. Weights: CC-BY-NC.
Starts from https://dl.fbaipublicfiles.com/convnext/convnextv2/pt_only/convnextv2_huge_1k_224_fcmae.pt
8 GPUs × 4 images = 32:
    tools/dist_train.sh configs/mask_rcnn_convnextv2_h_coco_lsj.py 8
"""

_base_ = [
    '_base_/models/mask_rcnn_convnext.py',
    '_base_/datasets/coco_instance_lsj.py',
    '_base_/schedules/detection_36e_lsj.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(
        arch='huge',
        use_grn=True,
        layer_scale_init_value=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnextv2/pt_only/convnextv2_huge_1k_224_fcmae.pt',
        ),
    ),
    test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))),
)
