"""The official datasets: where their archives are, what is in them, and how much of it."""

from pathlib import Path
from typing import NamedTuple


class Archive(NamedTuple):
    """A zip file as its publisher serves it."""

    url: str
    size: int  # bytes, as served in 2026; servers may change it, so that it is only told
    folder: str  # all that is unpacked stands below it
    marker: str  # beginning of the names of members by which it is told from other archives

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
    """A dataset of one or several archives, all of them needed; ``terms`` is an address."""

    title: str
    archives: tuple[Archive, ...]
    expected: tuple[Expected, ...]
    terms: str


# The scene-parsing benchmark's 150 classes (Zhou et al., CVPR 2017, section 4).
ADE20K = DataSet(
    title='ADE20K',
    archives=(
        Archive(
            'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
            967_382_037,
            *('ADEChallengeData2016', 'ADEChallengeData2016/images/training/'),
        ),
    ),
    expected=(
        Expected('ADEChallengeData2016/images/training/*.jpg', 20_210),
        Expected('ADEChallengeData2016/annotations/training/*.png', 20_210),
        Expected('ADEChallengeData2016/images/validation/*.jpg', 2_000),
        Expected('ADEChallengeData2016/annotations/validation/*.png', 2_000),
    ),
    terms='http://sceneparsing.csail.mit.edu',
)

_COCO = 'http://images.cocodataset.org'

# https://cocodataset.org/#download
COCO = DataSet(
    title='COCO 2017',
    archives=(
        Archive(f'{_COCO}/zips/train2017.zip', 19_336_861_798, 'train2017', 'train2017/'),
        Archive(f'{_COCO}/zips/val2017.zip', 815_585_330, 'val2017', 'val2017/'),
        Archive(
            f'{_COCO}/annotations/annotations_trainval2017.zip',
            252_907_541,
            *('annotations', 'annotations/instances_train2017.json'),
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
