"""Pictures of what a segmentor saw, should have seen and predicted, side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmconvnext.hooks.panels import enlarge, enlargement, side_by_side
from mmconvnext.hooks.pictures import PictureHook
from mmconvnext.registry import HOOKS

_WHITE = (255, 255, 255)
_PANELS = {'gt_sem_seg': 'ground truth', 'pred_sem_seg': 'prediction'}


@HOOKS.register_module()
class SegmentationPictureHook(PictureHook):
    """Writes ``image | ground truth | prediction`` as one PNG for each tested picture.

    Labels are drawn in the dataset's palette over the picture, with a legend of the classes that
    occur; what the annotation ignores is white. Without ground truth its panel is left out.

    Args:
        draw: Whether to write anything.
        out_dir: Folder for the PNGs, made if need be; in the runner's log folder by default.
        interval: Write every so many batches.
        opacity: Share of the label colour in a pixel, 0 to 1.
    """

    def __init__(
        self,
        draw: bool = False,
        out_dir: str | None = None,
        interval: int = 1,
        opacity: float = 0.7,
    ) -> None:
        super().__init__(draw, out_dir, interval)
        self.opacity = opacity

    def picture(self, image: np.ndarray, sample, dataset) -> np.ndarray:
        meta = dataset.metainfo
        labels = {
            title: getattr(sample, field).data.squeeze(0).cpu().numpy()
            for field, title in _PANELS.items()
            if field in sample
        }
        return compare(image, labels, meta['classes'], meta['palette'], self.opacity)


def compare(
    image: np.ndarray,
    labels: dict[str, np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float,
) -> np.ndarray:
    """The picture and each of its label maps side by side, with titles and a legend.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: Title and (H, W) class ids of each label map.
        classes: Name of each class.
        palette: RGB colour of each class.
        opacity: Share of the label colour, 0 to 1.

    Returns:
        uint8, BGR.
    """
    panels = {'image': image}
    panels |= {title: overlay(image, ids, palette, opacity) for title, ids in labels.items()}
    factor = enlargement(image)
    enlarged = {title: enlarge(panel, factor) for title, panel in panels.items()}
    present = np.unique(np.concatenate([ids.ravel() for ids in labels.values()]))
    legend = [(classes[i], palette[i]) for i in present if i < len(classes)]
    return side_by_side(enlarged, legend)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float
) -> np.ndarray:
    """Label colours over a picture.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W) class ids; ids that the palette lacks, such as 255, are white.
        palette: RGB colour of each class.
        opacity: Share of the label colour, 0 to 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    table = np.full((max(256, len(palette)), 3), _WHITE, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    return cv2.addWeighted(table[labels.astype(np.uint16)], opacity, image, 1 - opacity, 0)
