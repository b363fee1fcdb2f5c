"""Name images that cannot be read: mmcv's loader raises OpenCV's error, without the name."""

import functools

from mmcv.transforms import LoadImageFromFile

from mmconvnext.data.orientation import fitted
from mmconvnext.errors import UserError, first_line


def name_unreadable_images() -> None:
    """Make mmcv's ``LoadImageFromFile``, also mmdet's and mmseg's, name an unusable file.

    It then raises :class:`UserError` for an unreadable file, and for another size than the
    annotations give (``height`` and ``width``). If that is the size before or after EXIF turns the
    image, the image is turned like the annotations. This applies to the current process and
    processes forked from it; safe to call again.
    """
    transform = LoadImageFromFile.transform
    if hasattr(transform, '__wrapped__'):
        return

    @functools.wraps(transform)
    def naming(self: LoadImageFromFile, results: dict) -> dict | None:
        try:
            loaded = transform(self, results)
            if loaded is not None and {'height', 'width'} <= loaded.keys():
                image = fitted(
                    (loaded['height'], loaded['width']),
                    loaded['img'],
                    loaded['img_path'],
                    name=loaded['img_path'],
                    like='as in the annotations',
                    remedy='correct width and height there, or replace the image',
                )
                loaded.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        except UserError:
            raise
        except Exception as error:  # decoders may raise anything
            raise UserError(
                f'{results["img_path"]}: expected a readable image ({first_line(error)}); '
                'replace the file, or remove it from the dataset'
            ) from error
        return loaded

    LoadImageFromFile.transform = naming
