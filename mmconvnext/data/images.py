"""Name images that cannot be read: mmcv's loader raises OpenCV's error, without the name."""

import functools

import cv2
from mmcv.transforms import LoadImageFromFile

from mmconvnext.errors import UserError, first_line


def name_unreadable_images() -> None:
    """Make mmcv's ``LoadImageFromFile``, also mmdet's and mmseg's, name an unreadable file.

    It then raises :class:`UserError` instead of mmcv's AssertionError, or cv2.error for an empty
    file. This applies to the current process and processes forked from it; safe to call again.
    """
    transform = LoadImageFromFile.transform
    if hasattr(transform, '__wrapped__'):
        return

    @functools.wraps(transform)
    def naming(self: LoadImageFromFile, results: dict) -> dict | None:
        try:
            return transform(self, results)
        except (AssertionError, OSError, ValueError, cv2.error) as error:
            raise UserError(
                f'{results["img_path"]}: expected a readable image ({first_line(error)}); '
                'replace the file, or remove it from the dataset'
            ) from error

    LoadImageFromFile.transform = naming
