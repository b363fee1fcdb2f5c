"""Findings of a run on a GPU: one JSON line per finding, written at once, and a page of them."""

import gc
import json
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Findings:
    """Writes findings to a file one by one, and keeps the stage and its deadline."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._started = time.monotonic()
        self._stage, self._end = '', float('inf')

    def begin(self, stage: str, seconds: float) -> None:
        self._stage, self._end = stage, time.monotonic() + seconds

    def seconds(self) -> float:
        """Return how long the run has taken."""
        return time.monotonic() - self._started

    def late(self) -> bool:
        """Return whether the stage's time is up."""
        return time.monotonic() > self._end

    def say(self, name: str, **facts: object) -> None:
        line = {'t': round(self.seconds(), 1), 'stage': self._stage, 'name': name, **facts}
        text = json.dumps(line, default=str, ensure_ascii=False)
        with self.path.open('a') as file:
            file.write(text + '\n')
            file.flush()
            os.fsync(file.fileno())
        print(text[:400], flush=True)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Turn errors inside into findings, so that the run continues."""
        try:
            yield
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            where = [f'{Path(frame.filename).name}:{frame.lineno}' for frame in frames]
            text = f'{type(error).__name__}: {str(error)[:300]}'
            self.say(name, ok=False, error=text, where=where)
        finally:
            gc.collect()
            if torch.cuda.is_available():
                # After a device error every later CUDA call fails too.
                with suppress(RuntimeError):
                    torch.cuda.empty_cache()


def page(lines: Sequence[dict]) -> str:
    """Return the findings as Markdown: machine, correctness, times, and the rest."""
    machine = next((line for line in lines if line['name'] == 'machine'), {})
    facts = ('device', 'driver', 'torch', 'python', 'date')
    parts = ['# On a GPU', ', '.join(f'{fact} {machine.get(fact, "?")}' for fact in facts) + '.']
    parts += _correctness([line for line in lines if 'ok' in line])
    parts += _times([line for line in lines if 'ms' in line])
    parts += _rest([line for line in lines if 'ok' not in line and 'ms' not in line])
    return '\n\n'.join(parts) + '\n'


def _correctness(lines: Sequence[dict]) -> list[str]:
    right = sum(line['ok'] for line in lines)
    parts = ['## Correctness', f'{right} of {len(lines)} checks passed.']
    wrong = [_item(line) for line in lines if not line['ok']]
    return [*parts, '\n'.join(wrong)] if wrong else parts


def _times(lines: Sequence[dict]) -> list[str]:
    parts = ['## Times']
    for case in dict.fromkeys(line['case'] for line in lines):
        rows = ['| | ms | time ÷ first | peak, MiB | first step, s | difference |']
        rows.append('|---|---|---|---|---|---|')
        for line in (line for line in lines if line['case'] == case):
            low, high = line['spread']
            cells = [
                line['name'],
                f'{line["ms"]:.4g} [{low:.4g}, {high:.4g}]',
                f'{line["ratio"]:.2f}',
                *(str(line.get(key, '–')) for key in ('peak_MiB', 'first_s', 'difference')),
            ]
            rows.append(f'| {" | ".join(cells)} |')
        parts += [f'### {case}', '\n'.join(rows)]
    return parts


def _rest(lines: Sequence[dict]) -> list[str]:
    parts = ['## More']
    return [*parts, '\n'.join(map(_item, lines))]


def _item(line: dict) -> str:
    left_out = ('t', 'stage', 'name', 'ok')
    facts = [f'{key} {value}' for key, value in line.items() if key not in left_out]
    return f'- {line["stage"]}, {line["name"]}: {", ".join(facts)}'
