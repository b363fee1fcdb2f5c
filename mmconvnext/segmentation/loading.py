"""Name label maps that cannot be used, and turn those that EXIF turns apart from their images."""

import functools

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmconvnext.data.orientation import fitted
from mmconvnext.errors import UserError, first_line
from mmconvnext.segmentation.class_weights import ignore_pixels_in_class_weights

_EIGHT_BITS = ('1', 'L', 'P')  # pillow's modes with one channel, of ids from 0 to 255


def name_unusable_files() -> None:
    """Make mmseg's ``LoadAnnotations`` name a label map that it cannot read, or would misread.

    It then raises :class:`UserError` for a file that is missing or damaged, has several channels,
    ids beyond 0 to 255 (mmseg takes them modulo 256), or another size than its image. If that is
    the size before or after EXIF turns the image, the label map is turned like the image. This
    applies to the current process and processes forked from it; safe to call again.
    """
    ignore_pixels_in_class_weights()  # for mmseg's own heads
    load = LoadAnnotations._load_seg_map
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def naming(self: LoadAnnotations, results: dict) -> None:
        path = results['seg_map_path']
        try:
            _require_ids(path, self)
            load(self, results)
            if 'ori_shape' in results:
                image = results['img_path']
                results['gt_seg_map'] = fitted(
                    tuple(results['ori_shape'][:2]),
                    results['gt_seg_map'],
                    image,
                    name=path,
                    like=f'like {image}',
                    remedy='label this image again, or remove both',
                )
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
