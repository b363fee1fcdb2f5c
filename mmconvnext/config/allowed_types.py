"""Types that a config from an untrusted file may build: classes that open and run nothing.

Their constructors do not read files or the network (``init_cfg``, which loads weights, is dropped),
evaluate strings, import modules that a string names, or need other packages. Types that do are
excluded: TIMMBackbone, VPD, BertModel, CLIPTextEncoder, DetectoRS_ResNet, LAD, Detectron2Wrapper,
CameraMotionCompensation, Albu, LoadBiomedicalData, RandomSamplingNegPos and similar types.
"""

# Scopes of these types, allowed before a dot or in `_scope_`.
SCOPES = ('mmconvnext', 'mmseg', 'mmdet', 'mmengine', 'mmcv')

_LIST = """
# Of this project.
CascadeRCNN ConvNeXt EncoderDecoder EvaluationCrop FCNHead ImageClassifier MaskRCNN MaskTTAModel
PackImage RoadmapNet UPerHead WholePictureTTAModel
# Segmentors.
CascadeEncoderDecoder EncoderDecoder SegDataPreProcessor SegTTAModel
# Detectors.
ATSS AutoAssign BatchFixedSizePad BatchResize BatchSyncRandomResize BoxInst BoxInstDataPreprocessor
CascadeRCNN CenterNet CondInst ConditionalDETR CornerNet DABDETR DDOD DDQDETR DETR DINO
DeformableDETR DetDataPreprocessor DetTTAModel FCOS FOVEA FSAF FastRCNN FasterRCNN GFL GridRCNN
HybridTaskCascade ImgDataPreprocessor Mask2Former MaskFormer MaskRCNN MaskScoringRCNN NASFCOS PAA
PanopticFPN PointRend QueryInst RPN RTMDet RepPointsDetector RetinaNet SCNet SOLO SOLOv2
SingleStageDetector SparseRCNN TOOD TridentFasterRCNN TwoStageDetector VFNet YOLACT YOLOF YOLOV3
YOLOX
# Backbones.
BEiT BiSeNetV1 BiSeNetV2 CGNet CSPDarknet CSPNeXt DDRNet Darknet ERFNet EfficientNet FastSCNN HRNet
HourglassNet ICNet MAE MSCAN MixVisionTransformer MobileNetV2 MobileNetV3 PCPVT PIDNet
PyramidVisionTransformer PyramidVisionTransformerV2 RegNet Res2Net ResLayer ResNeSt ResNeXt ResNet
ResNetV1c ResNetV1d SSDVGG STDCContextPathNet STDCNet SVT SwinTransformer TridentResNet UNet
VisionTransformer
# Necks.
BFP CSPNeXtPAFPN CTResNetNeck ChannelMapper DilatedEncoder DyHead FPG FPN FPN_CARAFE Feature2Pyramid
GlobalAveragePooling HRFPN ICNeck JPU MLANeck MultiLevelNeck NASFCOS_FPN NASFPN PAFPN SSDNeck SSH
YOLOV3Neck YOLOXPAFPN
# Heads of segmentors.
ANNHead APCHead ASPPHead CCHead DAHead DDRHead DMHead DNLHead DPTHead DepthwiseSeparableASPPHead
DepthwiseSeparableFCNHead EMAHead EncHead FCNHead FPNHead GCHead ISAHead IterativeDecodeHead
KernelUpdateHead KernelUpdator LRASPPHead LightHamHead Mask2FormerHead MaskFormerHead NLHead OCRHead
PIDHead PSAHead PSPHead PointHead SETRMLAHead SETRUPHead STDCHead SegformerHead
SegmenterMaskTransformerHead UPerHead
# Heads of detectors.
ATSSHead AnchorFreeHead AnchorHead AutoAssignHead BBoxHead BoxInstBboxHead BoxInstMaskHead
CascadeRPNHead CascadeRoIHead CenterNetHead CenterNetUpdateHead CentripetalHead CoarseMaskHead
CondInstBboxHead CondInstMaskHead ConditionalDETRHead ConvFCBBoxHead CornerHead DABDETRHead DDODHead
DDQDETRHead DETRHead DIIHead DINOHead DecoupledSOLOHead DecoupledSOLOLightHead DeformableDETRHead
DoubleConvFCBBoxHead DoubleHeadRoIHead DynamicConv DynamicMaskHead DynamicRoIHead EmbeddingRPNHead
FCNMaskHead FCOSHead FSAFHead FeatureRelayHead FoveaHead FreeAnchorRetinaHead FusedSemanticHead
GARPNHead GARetinaHead GFLHead GlobalContextHead GridHead GridRoIHead GuidedAnchorHead HTCMaskHead
HeuristicFusionHead HybridTaskCascadeRoIHead MSDeformAttnPixelDecoder MaskFormerFusionHead
MaskIoUHead MaskPointHead MaskScoringRoIHead NASFCOSHead PAAHead PISARetinaHead PISARoIHead
PISASSDHead PanopticFPNHead PixelDecoder PointRendRoIHead RPNHead RTMDetHead RTMDetInsHead
RTMDetInsSepBNHead RTMDetSepBNHead RepPointsHead RetinaHead RetinaSepBNHead SABLHead SABLRetinaHead
SCNetBBoxHead SCNetMaskHead SCNetRoIHead SCNetSemanticHead SOLOHead SOLOV2Head SSDHead
Shared2FCBBoxHead Shared4Conv1FCBBoxHead SparseRoIHead StageCascadeRPNHead StandardRoIHead TOODHead
TransformerEncoderPixelDecoder TridentRoIHead VFNetHead YOLACTHead YOLACTProtonet YOLOFHead
YOLOV3Head YOLOXHead
# Losses.
AssociativeEmbeddingLoss BalancedL1Loss BoundaryLoss BoundedIoULoss CIoULoss CrossEntropyLoss
DIoULoss DiceLoss DistributionFocalLoss EIoULoss EQLV2Loss FocalLoss GHMC GHMR GIoULoss
GaussianFocalLoss HuasdorffDisstanceLoss IoULoss KnowledgeDistillationKLDivLoss L1Loss LovaszLoss
MSELoss OhemCrossEntropy QualityFocalLoss SIoULoss SeesawLoss SmoothL1Loss TverskyLoss VarifocalLoss
# Assigners, samplers, coders, anchors, costs, extractors of regions.
ATSSAssigner AnchorGenerator ApproxMaxIoUAssigner BBoxL1Cost BboxOverlaps2D BinaryFocalLossCost
BucketingBBoxCoder CenterRegionAssigner ClassificationCost CombinedSampler CrossEntropyLossCost
DeltaXYWHBBoxCoder DiceCost DistancePointBBoxCoder DynamicSoftLabelAssigner FocalLossCost
GenericRoIExtractor GridAssigner HungarianAssigner InstanceBalancedPosSampler IoUBalancedNegSampler
IoUCost LegacyAnchorGenerator LegacyDeltaXYWHBBoxCoder LegacySSDAnchorGenerator MaskPseudoSampler
MaxIoUAssigner MlvlPointGenerator OHEMPixelSampler OHEMSampler PointAssigner PointGenerator
PseudoBBoxCoder PseudoSampler RandomSampler RegionAssigner SSDAnchorGenerator ScoreHLRSampler
SimOTAAssigner SingleRoIExtractor TBLRBBoxCoder TaskAlignedAssigner TopkHungarianAssigner
UniformAssigner YOLOAnchorGenerator YOLOBBoxCoder
# Convolution, norm, activation, padding, upsampling, attention.
BN BN1d BN2d BN3d BaseTransformerLayer Clamp Clip ContextBlock Conv Conv1d Conv2d
Conv2dAdaptivePadding Conv3d ConvAWS ConvModule ConvTranspose2d ConvWS CrissCrossAttention DCN DCNv2
DeconvModule DropBlock DropPath Dropout ELU FFN FrozenBN GELU GN GeneralizedAttention HSigmoid
HSwish IN IN1d IN2d IN3d InterpConv LN LeakyReLU LearnedPositionalEncoding Linear MMSyncBN
MultiScaleDeformableAttention MultiheadAttention NonLocal2d NormedConv2d NormedLinear PReLU
QuickGELU RReLU ReLU ReLU6 SAC SiLU Sigmoid SinePositionalEncoding Swish SyncBN Tanh
TransformerLayerSequence bilinear carafe deconv nearest pixel_shuffle reflect replicate zero
# What mmcv and mmdet look up by name in mmcv.ops, or evaluate.
nms soft_nms RoIAlign RoIPool
# Transforms.
CenterCrop Compose FixScaleResize FixShapeResize ImageToTensor LoadAnnotations LoadImageFromFile
LoadImageFromNDArray LoadPanopticAnnotations MultiScaleFlipAug Normalize PackDetInputs PackSegInputs
Pad RandomFlip Resize ResizeShortestEdge ResizeToMultiple TestTimeAug ToTensor Transpose
"""

ALLOWED = frozenset(
    name for line in _LIST.splitlines() if not line.startswith('#') for name in line.split()
)
