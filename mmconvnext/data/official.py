"""The official datasets: addresses and contents of their archives, and numbers of files."""

from pathlib import Path
from typing import NamedTuple


class Archive(NamedTuple):
    """A zip file on its publisher's server."""

    url: str
    size: int  # bytes in 2026; only printed, not checked, because servers may change it
    folder: str  # all members to unpack are below this folder
    marker: str  # prefix of member names that identifies this archive

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rsplit('/', 1)[1]


class Expected(NamedTuple):
    """The number of files that must match a pattern below the folder of the data."""

    pattern: str
    number: int

    def count(self, root: Path) -> int:
        """Return the number of matching files, without empty or unfinished files."""
        return sum(p.is_file() and p.stat().st_size > 0 for p in root.glob(self.pattern))


class DataSet(NamedTuple):
    """A dataset of one or several archives, all required; ``terms`` is an address."""

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
