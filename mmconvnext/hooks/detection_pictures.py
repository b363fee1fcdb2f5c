"""Pictures of what a detector saw, should have seen and found, side by side."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from mmconvnext.hooks.instances import Instances, class_colour, class_name, draw_instances
from mmconvnext.hooks.panels import enlarge, enlargement, side_by_side
from mmconvnext.hooks.pictures import PictureHook
from mmconvnext.registry import HOOKS

_ORDINARY = 700  # pixels a side of a picture that is neither small nor large


@HOOKS.register_module()
class DetectionPictureHook(PictureHook):
    """Writes ``image | ground truth | detections`` as one PNG for each tested picture.

    Masks, boxes and labels are drawn in the dataset's palette over the picture, with a legend of
    the classes that occur. Without ground truth its panel is left out.

    Args:
        draw: Whether to write anything.
        out_dir: Folder for the PNGs, made if need be; in the runner's log folder by default.
        interval: Write every so many batches.
        score_thr: Least score of a detection that is drawn.
        opacity: Share of the class colour inside a mask, 0 to 1.
    """

    def __init__(
        self,
        draw: bool = False,
        out_dir: str | None = None,
        interval: int = 1,
        score_thr: float = 0.3,
        opacity: float = 0.5,
    ) -> None:
        super().__init__(draw, out_dir, interval)
        self.score_thr = score_thr
        self.opacity = opacity

    def picture(self, image: np.ndarray, sample, dataset) -> np.ndarray:
        meta = dataset.metainfo
        panels = {}
        if 'bboxes' in sample.get('gt_instances', ()):
            panels['ground truth'] = ground_truth(sample, image.shape[:2], dataset)
        panels['detections'] = detections(sample, self.score_thr)
        palette = meta.get('palette') or ()
        return compare(image, panels, meta['classes'], palette, self.opacity)


def compare(
    image: np.ndarray,
    instances: Mapping[str, Instances],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float,
) -> np.ndarray:
    """The picture without and with each of its sets of instances, with titles and a legend.

    Args:
        image: (H, W, 3) uint8, BGR.
        instances: Title and instances of each panel.
        classes: Name of each class.
        palette: RGB colour of each class.
        opacity: Share of the class colour inside a mask, 0 to 1.

    Returns:
        uint8, BGR.
    """
    factor = enlargement(image)
    height, width = image.shape[:2]
    scale = max(1.0, factor * (height * width) ** 0.5 / _ORDINARY)
    panels = {'image': enlarge(image, factor)}
    for title, shown in instances.items():
        panels[title] = draw_instances(
            image, shown, classes, palette, opacity, factor=factor, scale=scale
        )
    present = sorted({i for shown in instances.values() for i in shown.ids.tolist()})
    legend = [(class_name(i, classes), class_colour(i, palette)) for i in present]
    return side_by_side(panels, legend, scale)


def detections(sample, score_thr: float) -> Instances:
    """A sample's predictions whose score is at least ``score_thr``."""
    found = sample.pred_instances
    found = found[found.scores >= score_thr]
    masks = found.masks.cpu().numpy() if 'masks' in found else None
    return Instances(_boxes(found), found.labels.cpu().numpy(), found.scores.cpu().numpy(), masks)


def ground_truth(sample, shape: tuple[int, int], dataset) -> Instances:
    """A sample's annotation in the pixels of the picture on disk.

    It is of the test scale where it was loaded before the resize. A mask's size tells; of boxes
    alone the order of the pipeline's steps does.

    Args:
        sample: With ``gt_instances`` and, if resized, ``scale_factor`` (width, height).
        shape: Height and width of the picture on disk.
        dataset: The data set that the sample is of.
    """
    true = sample.gt_instances
    masks = true.masks.to_ndarray().astype(bool) if 'masks' in true else None
    boxes = _boxes(true)
    rescaled = annotated_first(dataset) if masks is None else masks.shape[1:] != shape
    if rescaled:
        across, down = sample.get('scale_factor', (1.0, 1.0))
        boxes = boxes / (across, down, across, down)
        if masks is not None:
            masks = _unscaled(masks, (across, down), shape)
    return Instances(boxes, true.labels.cpu().numpy(), masks=masks)


def annotated_first(dataset) -> bool:
    """Whether the data set's pipeline resizes pictures after it loaded their annotation."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    names = [type(step).__name__ for step in steps]
    if 'LoadAnnotations' not in names:
        return False
    return any('Resize' in name for name in names[names.index('LoadAnnotations') :])


def _unscaled(masks: np.ndarray, scale: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Masks of the test scale, perhaps padded, in the size of the picture."""
    result = np.zeros((len(masks), *shape), bool)
    # Unlike cv2.resize, a warp leaves the padding out.
    shrink = np.diag(scale).astype(float) @ np.eye(2, 3)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    for mask, target in zip(masks, result):
        target[:] = cv2.warpAffine(mask.astype(np.uint8), shrink, shape[::-1], flags=flags)
    return result


def _boxes(instances) -> np.ndarray:
    """(N, 4) boxes, whether a tensor or mmdet's box type around one."""
    boxes = instances.bboxes
    return getattr(boxes, 'tensor', boxes).cpu().numpy().reshape(-1, 4)
