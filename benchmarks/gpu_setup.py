"""Parts that the stages of gpu.py share: device, sizes, timing, and our models."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.case import Measurement, Tolerances, Variant, measure_case
from benchmarks.findings import Findings
from benchmarks.task import Task, model_config, randomise_vectors
from mmconvnext.analysis.benchmark.memory import allocated_peak
from mmconvnext.analysis.benchmark.step import Step
from mmconvnext.analysis.benchmark.timing import Spread, repeats_of, time_rounds
from mmconvnext.backbones import ConvNeXt

ROOT = Path(__file__).resolve().parents[1]
SEGMENTOR = 'upernet_convnext_t_ade20k.py'
DETECTOR = 'mask_rcnn_convnext_t_coco.py'
SMALL = {
    SEGMENTOR: 'upernet_convnext_atto_samples.py',
    DETECTOR: 'mask_rcnn_convnext_atto_samples.py',
}
# Of a short step within one measurement: many of them take too long.
MOST_REPEATS = 50
ANY = Tolerances(float('inf'), float('inf'))


class Setup(NamedTuple):
    """The device and the settings of a run."""

    device: str
    tiny: bool
    findings: Findings

    @property
    def rounds(self) -> int:
        return 1 if self.tiny else 5

    def autocast(self, dtype: torch.dtype | None) -> torch.autocast | nullcontext:
        return torch.autocast(self.device, dtype) if dtype else nullcontext()

    def synchronise(self) -> None:
        if self.device != 'cpu':
            torch.cuda.synchronize()

    def backbone(self, arch: str, use_grn: bool, **options: object) -> ConvNeXt:
        """Return our backbone with random weights, the same weights for the same arguments."""
        torch.manual_seed(0)
        scale = None if use_grn else 1.0
        model = ConvNeXt(arch, use_grn=use_grn, layer_scale_init_value=scale, **options)
        model.init_weights()
        randomise_vectors(model)
        return model.to(self.device)

    def config(self, path: str) -> Path:
        return ROOT / 'configs' / (SMALL.get(path, path) if self.tiny else path)

    def task(self, kind: str, config: dict | str, size: tuple[int, int], batch: int, training: bool,
             amp: str | None, tf32: bool = False) -> Task:  # fmt: skip
        """Return a task of tools/benchmark.py, with the model of a config file as in that tool."""
        if isinstance(config, str):
            config = model_config(kind, self.config(config))
        return Task(kind, config, size, batch, training, self.device, amp, tf32)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Run a case of a stage; errors become findings.

        Raises:
            TimeoutError: the stage's time is up, which ends the stage.
        """
        if self.findings.late():
            raise TimeoutError(f'no time left for {name}')
        with self.findings.case(name):
            yield

    def time(self, case: str, steps: Mapping[str, Step]) -> None:
        """Report times of steps that may compute different things."""
        reference = None
        for name, step in steps.items():
            if self.findings.late():
                self.findings.say(f'{case}: {name} skipped, no time left', ok=False)
                continue
            step(0)  # which loads and searches kernels
            repeats = 1 if self.tiny else min(repeats_of(step, self.device), MOST_REPEATS)
            runs = {name: step}
            seconds = time_rounds(runs, rounds=self.rounds, device=self.device, repeats=repeats)
            spread = Spread.of(seconds[name])
            reference = reference or spread.median
            ratio = Spread.of([one / reference for one in seconds[name]])
            peak = None if self.device == 'cpu' else allocated_peak(step, self.device)
            self._say_time(case, Measurement(name, '', False, spread, ratio, None, peak, 0.0))

    def compare(self, title: str, task: Task, variants: Sequence[Variant]) -> None:
        """Report times and memory of variants of a task; the first is the reference.

        One that fails, or comes when the stage's time is up, is skipped with a message. Results are
        compared, and how far they differ is told.
        """
        title = f'{title}, {task.title}'
        rivals = {one.name for one in variants if one.rival}

        def drop(name: str, why: str) -> None:
            ok = {} if name in rivals else {'ok': False}
            self.findings.say(f'{title}: {name} skipped', **ok, why=why)

        with self.case(title):
            case = measure_case(
                title,
                [one._replace(prepare=partial(self._in_time, one)) for one in variants],
                rounds=self.rounds,
                device=self.device,
                tolerances=ANY,
                amp=task.dtype,
                drop=drop,
            )
            for one in case.measurements:
                within = one.difference <= max(task.tolerances)
                if not within:
                    self.findings.say(f'{title}: {one.name}', ok=False, differs=one.difference)
                self._say_time(title, one)
            best = {rival: one.ratio.median for rival, one in case.best_of_rivals().items()}
            if best:
                self.findings.say(
                    f'{title}: rivals at their best, time ÷ ours',
                    **{rival: round(ratio, 3) for rival, ratio in best.items()},
                )

    def _in_time(self, variant: Variant) -> Step:
        if self.findings.late():
            raise TimeoutError('no time left')
        return variant.prepare()

    def _say_time(self, case: str, one: Measurement) -> None:
        spread = [round(1e3 * value, 4) for value in (one.seconds.lower, one.seconds.upper)]
        facts = dict(ms=round(1e3 * one.seconds.median, 4), spread=spread)
        facts['ratio'] = round(one.ratio.median, 3)
        if one.peak_bytes is not None:
            facts['peak_MiB'] = one.peak_bytes >> 20
        if one.first_seconds > 1:
            facts['first_s'] = round(one.first_seconds, 1)
        facts['difference'] = float(f'{one.difference:.1e}')
        self.findings.say(one.name, case=case, **facts)
