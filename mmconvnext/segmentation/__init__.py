"""What plugs into mmseg."""

from mmconvnext.segmentation.tta import WholePictureTTAModel

__all__ = ['WholePictureTTAModel']
