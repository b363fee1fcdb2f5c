"""A progress bar on stderr that counts images and frames."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mmconvnext.inference.inputs import Input

_COLUMNS = ('{task.description}', BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


class InputProgress(Progress):
    """Counts an image as one step, and a video as its announced number of frames."""

    def __init__(self, inputs: int) -> None:
        super().__init__(*_COLUMNS, console=Console(stderr=True))
        self._task = self.add_task('images and frames', total=inputs)
        self._announced: set[Input] = set()

    def advance_input(self, source: Input, announced: int) -> None:
        """Advance by one image or frame; ``announced`` is the input's total number."""
        if source.is_video and source not in self._announced:
            self._announced.add(source)
            task = self.tasks[self._task]
            self.update(self._task, total=(task.total or 0) + max(announced, 1) - 1)
        self.update(self._task, advance=1)
