"""The datasets that a config names, each as its own class sees it, but with no data loaded."""

from dataclasses import dataclass

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from mmconvnext.config_types import pipeline_steps, type_name, wrapped_datasets
from mmconvnext.errors import first_line
from mmconvnext.preflight.findings import Findings


@dataclass(frozen=True)
class ConfiguredDataset:
    """One dataset of a config; of a wrapper such as RepeatDataset, what it wraps.

    ``name`` is the split, and a number where a split has several; ``built`` knows its classes and
    its paths, and has loaded nothing. ``kind`` is ``'coco'`` or ``'segmentation'`` where it reads
    files as mmdet's CocoDataset or mmseg's BaseSegDataset do, else ``''``.
    """

    name: str
    split: str
    config: ConfigDict
    built: BaseDataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return tuple(self.built.metainfo.get('classes') or ())

    @property
    def kind(self) -> str:
        """How its files are to be read."""
        for base in self.built.__class__.__mro__:
            # A subclass with a load_data_list of its own reads another format.
            if base.__name__ == 'CocoDataset':
                same = type(self.built).load_data_list is base.load_data_list
                return 'coco' if same else ''
            if base.__name__ == 'BaseSegDataset':
                return 'segmentation'
        return ''

    def step(self, name: str) -> ConfigDict:
        """The options of the first transform of this name in the pipeline, or none."""
        found = pipeline_steps(self.config.get('pipeline') or [])
        return next((one for one in found if type_name(one) == name), ConfigDict())


def configured_datasets(config: Config, findings: Findings) -> list[ConfiguredDataset]:
    """Build the datasets of all splits lazily; those that cannot be are findings.

    A test split that is the val split comes once.
    """
    found, seen = [], []
    for split in ('train', 'val', 'test'):
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset')
        leaves = [*wrapped_datasets(dataset)] if dataset else []
        for place, leaf in enumerate(leaves, 1):
            files = {key: value for key, value in leaf.items() if key != 'pipeline'}
            if (split == 'test' and ('val', files) in seen) or (split, files) in seen:
                continue
            seen.append((split, files))
            name = f'{split} {place}' if len(leaves) > 1 else split
            try:
                with DefaultScope.overwrite_default_scope(config.get('default_scope')):
                    # Neither the transforms nor the annotations: both come later, one by one.
                    built = DATASETS.build({**leaf, 'pipeline': [], 'lazy_init': True})
            except Exception as error:  # a dataset's class fails in any way
                findings.of_split(name).error(
                    'dataset not built',
                    f'{leaf.get("type")} cannot be built ({type(error).__name__}: '
                    f'{first_line(error)}); correct {split}_dataloader.dataset',
                )
            else:
                found.append(ConfiguredDataset(name, split, leaf, built))
    return found
