"""Run a predictor over all inputs: write results one by one, and list unreadable inputs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmconvnext.drawing.overlay import viewable
from mmconvnext.errors import UserError
from mmconvnext.inference.inputs import Input
from mmconvnext.inference.model import Predictor
from mmconvnext.inference.png import write_png
from mmconvnext.inference.results import Results
from mmconvnext.inference.video import VideoReader, VideoWriter

_LEGEND_LINES = 3  # fixed, because all frames of a video have one size


class Unreadable(NamedTuple):
    """An input that could not be read completely."""

    path: Path
    reason: str


class Outcome(NamedTuple):
    """The result of one input.

    ``amounts`` are each class's share of pixels or number of instances, largest first, over all
    frames of a video.
    """

    source: Input
    files: dict[str, str]  # files written, by kind
    amounts: dict[str, float]
    frames: int  # 1 for an image


def run(
    predictor: Predictor,
    inputs: Sequence[Input],
    results: Results,
    folder: Path,
    advance: Callable[[Input, int], None] = lambda source, announced: None,
) -> tuple[list[Outcome], list[Unreadable]]:
    """Predict, draw and write every input; overlays go to ``pictures/`` in ``folder``.

    ``advance`` is called after each image or frame with its input and the announced number of
    frames, 1 for an image. Returns the outcomes of inputs that could be read at least in part, and
    the unreadable inputs; a video that breaks off is in both.

    Raises:
        UserError: an error that affects all inputs, such as a full disk.
    """
    outcomes, unreadable = [], []
    for source in inputs:
        one = _Single(predictor, results, source, folder / 'pictures' / source.name, advance)
        outcome, reason = one.video() if source.is_video else one.picture()
        if outcome is not None:
            outcomes.append(outcome)
        if reason is not None:
            reason = reason.removeprefix(f'{source.path}: ')
            unreadable.append(Unreadable(source.path, reason))
    return outcomes, unreadable


@dataclass
class _Single:
    """Processes one input; ``stem`` is the path of its overlay, without suffix."""

    predictor: Predictor
    results: Results
    source: Input
    stem: Path
    advance: Callable[[Input, int], None]
    amounts: Counter[str] = field(default_factory=Counter)

    def picture(self) -> tuple[Outcome | None, str | None]:
        try:
            image = self.predictor.pipeline.load(self.source.path)
            sample = self.predictor.predict(image)
        except UserError as error:
            self.advance(self.source, 1)
            return None, str(error)
        found: Any = self.results.found(sample)
        path = self.stem.with_name(f'{self.stem.name}.png')
        write_png(path, self.results.picture(viewable(image), found))
        files = {'picture': str(path), **self._keep(image, found)}
        self.advance(self.source, 1)
        return self._outcome(files, 1), None

    def video(self) -> tuple[Outcome | None, str | None]:
        try:
            reader = VideoReader(self.source.path)
        except UserError as error:
            self.advance(self.source, 1)
            return None, str(error)
        number, files = 0, {}
        self.results.forget(self.source)
        with VideoWriter(self.stem, reader.rate) as writer:
            for number, image in enumerate(reader, 1):
                found: Any = self.results.found(self.predictor.predict(image))
                writer.write(self.results.picture(image, found, _LEGEND_LINES))
                files = self._keep(image, found, number - 1)
                self.advance(self.source, reader.announced)
        files = {'video': str(writer.path), **files}
        return (self._outcome(files, number) if number else None), reader.shortfall()

    def _keep(self, image: np.ndarray, found: Any, frame: int | None = None) -> dict[str, str]:
        self.amounts.update(self.results.amounts(found))
        return self.results.keep(image, found, self.source, frame)

    def _outcome(self, files: dict[str, str], frames: int) -> Outcome:
        amounts: dict[str, float] = dict(self.amounts.most_common())
        if self.results.unit == 'pixels':
            pixels = self.amounts.total()
            amounts = {name: area / pixels for name, area in amounts.items()}
        return Outcome(self.source, files, amounts, frames)
