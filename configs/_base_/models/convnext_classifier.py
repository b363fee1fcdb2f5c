"""ConvNeXt-T with the classifier of the paper.

Source: facebookresearch/ConvNeXt @048efce, models/convnext.py, main.py and engine.py.
"""

model = dict(
    type='mmconvnext.ImageClassifier',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='mmconvnext.ConvNeXt',
        arch='tiny',
        out_indices=(3,),
        drop_path_rate=0.1,
        layer_scale_init_value=1e-6,
    ),
    num_classes=1000,
    label_smoothing=0.1,
    head_init_scale=1.0,
    mixing=dict(mixup_alpha=0.8, cutmix_alpha=1.0),  # from timm; None disables mixing
)
