"""Videos frame by frame: never more than one frame in memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mmconvnext.errors import UserError
from mmconvnext.inference.png import frame_name, write_png

# What OpenCV's own builds encode, the most portable first: container and codec.
CODECS = (('.mp4', 'mp4v'), ('.avi', 'MJPG'))
_FRAME_RATE = 25.0  # where a video does not tell its own
_TOLERATED = 0.02  # of the frames that a container announces: many count a few too many


class VideoReader:
    """The frames of a video file, once; a UserError where it is no video that can be read.

    ``announced`` frames are as the container counts them, often a guess, 0 where it does not;
    ``rate`` is frames a second.
    """

    def __init__(self, path: Path) -> None:
        self._read = 0
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError(f'{path}: is no video that OpenCV reads')
        self.announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if np.isfinite(rate) and rate > 0 else _FRAME_RATE

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 BGR, upright."""
        try:
            while (frame := self._capture.read()[1]) is not None:
                self._read += 1
                yield frame
        finally:
            self._capture.release()

    def shortfall(self) -> str | None:
        """What a person is to know of a video that broke off; after the last frame."""
        if self._read and self._read >= self.announced * (1 - _TOLERATED):
            return None
        return f'{self._read} of {self.announced} frames could be read'


class VideoWriter:
    """Frames of one size as a video, or as PNGs where no codec is; a context.

    The video is in its place after the context, whole, and not there after an error. The ``path``
    that is given has no suffix; as an attribute it has that of the first codec that works, or is a
    folder of PNGs, NAME.frames, and None before the first frame.
    """

    def __init__(
        self, path: Path, rate: float, codecs: tuple[tuple[str, str], ...] = CODECS
    ) -> None:
        self.path: Path | None = None
        self._stem = path
        self._rate = rate
        self._codecs = codecs
        self._writer: cv2.VideoWriter | None = None
        self._partial: Path | None = None
        self._count = 0

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8 BGR, all of one size; a UserError where it cannot be."""
        frame = _even(frame)
        if self.path is None:
            self._open(frame.shape[1::-1])
        if self._writer is not None:
            self._writer.write(frame)
        else:
            write_png(Path(frame_name(self._stem, self._count)), frame)
        self._count += 1

    def _open(self, size: tuple[int, int]) -> None:
        try:
            self._stem.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f'{self._stem}: could not be written ({error.strerror})') from error
        for suffix, codec in self._codecs:
            partial = self._stem.with_name(f'.{self._stem.name}.partial{suffix}')
            writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*codec), self._rate, size)
            if writer.isOpened():
                self._writer, self._partial = writer, partial
                self.path = self._stem.with_name(self._stem.name + suffix)
                return
            partial.unlink(missing_ok=True)
        self.path = Path(frame_name(self._stem, 0)).parent

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not (self._writer and self._partial and self.path):
            return
        self._writer.release()
        if kind is None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame with the sides that codecs want: the last row or column twice if need be."""
    down, right = frame.shape[0] % 2, frame.shape[1] % 2
    return cv2.copyMakeBorder(frame, 0, down, 0, right, cv2.BORDER_REPLICATE)
