"""Which image could not be read: mmcv's loading leaves that to OpenCV, which does not know."""

import functools

import cv2
from mmcv.transforms import LoadImageFromFile

from mmconvnext.errors import UserError, first_line


def name_unreadable_images() -> None:
    """Make mmcv's ``LoadImageFromFile``, mmdet's and mmseg's too, name the file it fails at.

    For this process and those forked from it; safe to call again. An image then raises
    :class:`UserError` where mmcv raises AssertionError, or cv2.error for an empty file.
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
                'replace the file, or take it out of the dataset'
            ) from error

    LoadImageFromFile.transform = naming
