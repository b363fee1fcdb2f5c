"""Pictures of what a segmentor saw, should have seen and predicted, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS

_GAP = 8  # white pixels between the panels
_LINE = 24  # height of a line of text
_SMALLEST = 256  # panels lower than this are enlarged by a whole factor
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_PANELS = {'gt_sem_seg': 'ground truth', 'pred_sem_seg': 'prediction'}


@HOOKS.register_module()
class SegmentationPictureHook(Hook):
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
        self.draw = draw
        self.out_dir = out_dir
        self.interval = interval
        self.opacity = opacity

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.draw or not self.every_n_inner_iters(batch_idx, self.interval):
            return
        folder = Path(self.out_dir or Path(runner.log_dir) / 'pictures')
        folder.mkdir(parents=True, exist_ok=True)
        meta = runner.test_dataloader.dataset.metainfo
        for sample in outputs:
            image = cv2.imread(sample.img_path)
            labels = {
                title: getattr(sample, field).data.squeeze(0).cpu().numpy()
                for field, title in _PANELS.items()
                if field in sample
            }
            picture = compare(image, labels, meta['classes'], meta['palette'], self.opacity)
            cv2.imwrite(str(folder / f'{Path(sample.img_path).stem}.png'), picture)


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
    factor = -(-_SMALLEST // len(image))
    columns = []
    for title, panel in panels.items():
        panel = panel.repeat(factor, axis=0).repeat(factor, axis=1)
        columns += [np.vstack([_text_line(panel.shape[1], title), panel]), None]
    gap = np.full((columns[0].shape[0], _GAP, 3), 255, np.uint8)
    row = np.hstack([gap if column is None else column for column in columns[:-1]])
    present = np.unique(np.concatenate([ids.ravel() for ids in labels.values()]))
    entries = [(classes[i], palette[i]) for i in present if i < len(classes)]
    return np.vstack([row, *_legend(row.shape[1], entries)])


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
    table = np.full((256, 3), _WHITE, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    return cv2.addWeighted(table[labels.astype(np.uint8)], opacity, image, 1 - opacity, 0)


def _legend(width: int, entries: Sequence[tuple[str, Sequence[int]]]) -> list[np.ndarray]:
    """Lines of (swatch, name), as many as the width asks for."""
    lines: list[np.ndarray] = []
    x = width
    for name, colour in entries:
        needed = _LINE + _text_width(name)
        if x + needed > width:
            lines.append(_text_line(width, ''))
            x = 0
        swatch = (x + 4, 5), (x + _LINE - 6, _LINE - 5)
        cv2.rectangle(lines[-1], *swatch, tuple(int(v) for v in colour[::-1]), -1)
        _write(lines[-1], name, x + _LINE)
        x += needed
    return lines


def _text_line(width: int, text: str) -> np.ndarray:
    line = np.full((_LINE, width, 3), 255, np.uint8)
    _write(line, text, 4)
    return line


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] + 12


def _write(line: np.ndarray, text: str, x: int) -> None:
    cv2.putText(line, text, (x, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _BLACK, 1, cv2.LINE_AA)
