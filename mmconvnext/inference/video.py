"""Read and write videos frame by frame, with one frame in memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mmconvnext.errors import UserError
from mmconvnext.inference.png import frame_name, write_png

# Containers and codecs that OpenCV's builds can encode, most portable first.
CODECS = (('.mp4', 'mp4v'), ('.avi', 'MJPG'))
_FRAME_RATE = 25.0  # if a video does not tell its frame rate
_TOLERATED = 0.02  # missing fraction of announced frames: many containers count too many


class VideoReader:
    """Iterates once over the frames of a video file; raises UserError if it is unreadable.

    ``announced`` is the container's number of frames, which is often inexact, or 0 if unknown;
    ``rate`` is frames per second.
    """

    def __init__(self, path: Path) -> None:
        self._read = 0
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError(f'{path}: expected a video that OpenCV can read; convert it to .mp4')
        self.announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if np.isfinite(rate) and rate > 0 else _FRAME_RATE

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames, (H, W, 3) uint8 BGR, upright."""
        try:
            while (frame := self._capture.read()[1]) is not None:
                self._read += 1
                yield frame
        finally:
            self._capture.release()

    def shortfall(self) -> str | None:
        """Return a message if the video broke off, after the last frame, or None."""
        if self._read and self._read >= self.announced * (1 - _TOLERATED):
            return None
        return f'{self._read} of {self.announced} frames could be read'


class VideoWriter:
    """Writes frames of one size to a video, or to PNGs if there is no codec; a context manager.

    After the context the video is complete; after an error there is none. The argument ``path`` has
    no suffix. The attribute ``path`` has the suffix of the first codec that works, or is a folder
    of PNGs, NAME.frames; it is None before the first frame.
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
        """Add a frame, (H, W, 3) uint8 BGR, all of one size; raise UserError if it fails."""
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
    """Make the sides even, as codecs need, by repeating the last row or column."""
    down, right = frame.shape[0] % 2, frame.shape[1] % 2
    return cv2.copyMakeBorder(frame, 0, down, 0, right, cv2.BORDER_REPLICATE)
