"""UperNet on ConvNeXt-T.

Source: facebookresearch/ConvNeXt @048efce, semantic_segmentation/configs/.
"""

norm_cfg = dict(type='SyncBN', requires_grad=True)  # plain BN on one process or a CPU
model = dict(
    type='mmconvnext.EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),  # of a training crop
    ),
    backbone=dict(
        type='mmconvnext.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
    ),
    decode_head=dict(
        type='mmconvnext.UPerHead',
        in_channels=None,  # the backbone's, whatever its size
        in_index=(0, 1, 2, 3),
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='mmconvnext.FCNHead',
        in_channels=None,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
tta_model = dict(type='mmconvnext.WholePictureTTAModel')
