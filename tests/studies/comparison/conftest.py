"""Rows of a comparison that nobody had to measure."""

import pytest

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.analysis.cost.complexity import Complexity
from mmconvnext.studies.comparison.cost import Speed
from mmconvnext.studies.comparison.families import FAMILIES, SIZES, chosen
from mmconvnext.studies.comparison.published import result
from mmconvnext.studies.comparison.run import Row


@pytest.fixture
def rows() -> list[Row]:
    """All of UperNet, measured in inference apart from size L."""
    found = []
    for place, one in enumerate(chosen('upernet', FAMILIES, SIZES)):
        counted = Complexity(10**12 + place * 10**10, 60_000_000)
        published = result('upernet', one.family, one.size)
        speed = Speed(Spread(2, 1, 4), Spread(0.5, 0.25, 1), 3 * 2**20)
        measured = {} if one.size == 'L' else {'inference': speed}
        found.append(Row('upernet', one, published, counted, measured))
    return found
