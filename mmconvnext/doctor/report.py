"""Print what is installed and what would fail, as a table or as JSON."""

import argparse
import json
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from mmconvnext.doctor.facts import PROVIDERS, Facts, collect, providers
from mmconvnext.doctor.problems import Problem, find_problems
from mmconvnext.version import __version__


def main(description: str, prog: str | None = None, package_problem: str | None = None) -> None:
    """Print the report; exit with 1 if something would fail, else with 0.

    ``package_problem`` is passed to :func:`~mmconvnext.doctor.facts.collect`.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--json', action='store_true', help='print only JSON')
    arguments = parser.parse_args()
    facts = collect(package_problem)
    problems = find_problems(facts)
    if arguments.json:
        print(json.dumps(as_json(facts, problems), indent=2))
    else:
        table = Table(show_header=False, box=None, pad_edge=False)
        for row in rows(facts):
            table.add_row(*row)
        console = Console(width=None if sys.stdout.isatty() else 100)
        console.print(table)
        if facts.changes:
            console.print(_changes(facts))
        print(*verdict(problems), sep='\n')
    sys.exit(any(problem.certain for problem in problems))


def as_json(facts: Facts, problems: list[Problem]) -> dict[str, object]:
    """Return the report as JSON; ``ok`` is False if something would fail."""
    return {
        'ok': not any(problem.certain for problem in problems),
        'mmconvnext': __version__,
        'python': facts.versions['python'],
        'torch': facts.torch and facts.torch._asdict(),
        'packages': {
            name: {there: facts.versions[there] for there in providers(name, facts.versions)}
            for name in PROVIDERS
        },
        'operators': dict(facts.operators),
        'variables': dict(facts.variables),
        'changes': [change._asdict() for change in facts.changes],
        'problems': [problem._asdict() for problem in problems],
    }


def rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Return rows of a table: what is installed, by name."""
    versions = facts.versions
    yield 'mmconvnext', __version__ + (', in place' if 'mmconvnext-editable' in versions else '')
    yield 'Python', versions['python']
    yield 'torch', f'{facts.torch.version}; {facts.torch.device}' if facts.torch else 'none'
    for name in PROVIDERS:
        there = [f'{given} {versions[given]}' for given in providers(name, versions)]
        yield name, ' and '.join(there) or 'not installed'
        if name == 'mmcv':
            yield from ((f'mmcv.ops.{key}', by) for key, by in facts.operators.items())
    yield from facts.variables.items()


def _changes(facts: Facts) -> Table:
    table = Table(title='Changes to other packages', box=None, pad_edge=False, title_justify='left')
    for heading in ('what', 'state', 'why'):
        table.add_column(heading)
    for change in facts.changes:
        table.add_row(change.name, change.state, change.why)
    return table


def verdict(problems: list[Problem]) -> Iterator[str]:
    """Return lines that say what would fail, and its remedy."""
    for problem in problems:
        yield f'{"would fail" if problem.certain else "note"}: {problem.what}: {problem.fails}'
        yield f'  → {problem.remedy}' + (f'  [{problem.source}]' if problem.source else '')
    if not any(problem.certain for problem in problems):
        yield 'nothing here would fail'
