"""Published values as their sources print them: one CSV file a table, sources above the head.

``model`` is what the source calls it, ``config`` the one here that it is of.
"""

import csv
from pathlib import Path


def read_table(name: str) -> list[dict[str, str | float | None]]:
    """The rows of ``NAME.csv``: a number as float, what the source leaves out as None."""
    lines = (Path(__file__).parent / f'{name}.csv').read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith('#'))
    return [{key: _value(cell) for key, cell in row.items()} for row in rows]


def by_config(*names: str) -> dict[str, dict[str, str | float | None]]:
    """The rows of some tables that are of a config, by its name."""
    return {row['config']: row for name in names for row in read_table(name) if row['config']}


def _value(cell: str) -> str | float | None:
    try:
        return float(cell)
    except ValueError:
        return cell or None
