"""Name label maps that cannot be used, and turn those that EXIF turns apart from their images."""

import functools

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmconvnext.data.orientation import turned_to
from mmconvnext.errors import UserError, first_line

_EIGHT_BITS = ('1', 'L', 'P')  # pillow's modes with one channel, of ids from 0 to 255


def name_unusable_files() -> None:
    """Make mmseg's ``LoadAnnotations`` name a label map that it cannot read, or would misread.

    It then raises :class:`UserError` for a file that is missing or damaged, has several channels,
    ids beyond 0 to 255 (mmseg takes them modulo 256), or another size than its image. If that is
    the size before or after EXIF turns the image, the label map is turned like the image. This
    applies to the current process and processes forked from it; safe to call again.
    """
    load = LoadAnnotations._load_seg_map
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def naming(self: LoadAnnotations, results: dict) -> None:
        path = results['seg_map_path']
        try:
            _require_ids(path, self)
            load(self, results)
            results['gt_seg_map'] = _like_the_image(path, results)
        except UserError:
            raise
        except Exception as error:  # decoders may raise anything
            raise UserError(
                f'{path}: expected a readable label map ({first_line(error)}); replace the file, '
                'or remove its image from the dataset'
            ) from error

    LoadAnnotations._load_seg_map = naming


def _require_ids(path: str, options: LoadAnnotations) -> None:
    backend = options.imdecode_backend
    with fileio.get_local_path(path, backend_args=options.backend_args) as file:
        if backend == 'pillow':
            with Image.open(file) as image:  # reads the header alone
                if image.mode in _EIGHT_BITS:
                    return
        labels = mmcv.imread(file, 'unchanged', backend=backend)
    if labels is None:
        raise ValueError('not an image')
    labels = labels.squeeze()
    if labels.ndim != 2:
        raise UserError(
            f'{path}: expected one channel with ids, got {labels.shape[-1]} channels; write the '
            "ids as grey values (mode 'L') or a palette (mode 'P')"
        )
    values = np.unique(labels)
    wrong = values[~((values >= 0) & (values <= 255) & (values == np.round(values)))]
    if wrong.size:
        raise UserError(
            f'{path}: expected ids from 0 to 255, got {wrong[0]}, which mmseg takes modulo 256; '
            'write other ids, and 255 for ignored pixels'
        )


def _like_the_image(path: str, results: dict) -> np.ndarray:
    labels, size = results['gt_seg_map'], results.get('ori_shape')
    if size is None or labels.shape == (size := tuple(size[:2])):
        return labels
    turned = turned_to(size, labels, results['img_path'])
    if turned is None:
        raise UserError(
            f'{path}: expected {size[1]} × {size[0]} pixels, like {results["img_path"]}, got '
            f'{labels.shape[1]} × {labels.shape[0]}; label this image again, or remove both'
        )
    return turned
