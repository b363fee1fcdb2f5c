"""The official data sets: where their archives are, what is in them, and how much of it."""

from pathlib import Path
from typing import NamedTuple


class Archive(NamedTuple):
    """A zip file as its publisher serves it.

    Attributes:
        url: Address.
        size: Bytes, as served in 2026; servers may change it, so that it is only told.
        marker: Beginning of the names of members by which it is told from other archives.
        folder: All that is unpacked stands below it.
    """

    url: str
    size: int
    marker: str
    folder: str

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rsplit('/', 1)[1]


class Expected(NamedTuple):
    """How many files a pattern has to find below the folder of the data."""

    pattern: str
    number: int

    def count(self, root: Path) -> int:
        """How many it does find; empty files and files still being written do not count."""
        return sum(p.is_file() and p.stat().st_size > 0 for p in root.glob(self.pattern))


class DataSet(NamedTuple):
    """A data set of one or several archives.

    Attributes:
        title: What people call it.
        archives: All that are needed.
        expected: What is there when all are unpacked.
        terms: Where its terms of use stand.
    """

    title: str
    archives: tuple[Archive, ...]
    expected: tuple[Expected, ...]
    terms: str


_ADE20K = 'ADEChallengeData2016'

# The scene-parsing benchmark's 150 classes (Zhou et al., CVPR 2017, section 4).
ADE20K = DataSet(
    title='ADE20K',
    archives=(
        Archive(
            url='http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
            size=967_382_037,
            marker=f'{_ADE20K}/images/training/',
            folder=_ADE20K,
        ),
    ),
    expected=(
        Expected(f'{_ADE20K}/images/training/*.jpg', 20_210),
        Expected(f'{_ADE20K}/annotations/training/*.png', 20_210),
        Expected(f'{_ADE20K}/images/validation/*.jpg', 2_000),
        Expected(f'{_ADE20K}/annotations/validation/*.png', 2_000),
    ),
    terms='http://sceneparsing.csail.mit.edu',
)

# https://cocodataset.org/#download
COCO = DataSet(
    title='COCO 2017',
    archives=(
        Archive(
            url='http://images.cocodataset.org/zips/train2017.zip',
            size=19_336_861_798,
            marker='train2017/',
            folder='train2017',
        ),
        Archive(
            url='http://images.cocodataset.org/zips/val2017.zip',
            size=815_585_330,
            marker='val2017/',
            folder='val2017',
        ),
        Archive(
            url='http://images.cocodataset.org/annotations/annotations_trainval2017.zip',
            size=252_907_541,
            marker='annotations/instances_train2017.json',
            folder='annotations',
        ),
    ),
    expected=(
        Expected('train2017/*.jpg', 118_287),
        Expected('val2017/*.jpg', 5_000),
        Expected('annotations/instances_train2017.json', 1),
        Expected('annotations/instances_val2017.json', 1),
    ),
    terms='https://cocodataset.org/#termsofuse',
)
