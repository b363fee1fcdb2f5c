"""The datasets of a config, built without loading data."""

from dataclasses import dataclass

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from mmconvnext.config_types import pipeline_steps, type_name, wrapped_datasets
from mmconvnext.errors import first_line
from mmconvnext.preflight.findings import Findings


@dataclass(frozen=True)
class ConfiguredDataset:
    """One dataset of a config, taken out of wrappers such as RepeatDataset.

    ``name`` is the split, with a number if a split has several datasets; ``built`` has the classes
    and paths, but no data. ``kind`` is ``'coco'`` or ``'segmentation'`` if it reads files like
    mmdet's CocoDataset or mmseg's BaseSegDataset, else ``''``.
    """

    name: str
    split: str
    config: ConfigDict
    built: BaseDataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, by label."""
        return tuple(self.built.metainfo.get('classes') or ())

    @property
    def kind(self) -> str:
        """Return the format of its files."""
        for base in self.built.__class__.__mro__:
            # A subclass with its own load_data_list reads another format.
            if base.__name__ == 'CocoDataset':
                same = type(self.built).load_data_list is base.load_data_list
                return 'coco' if same else ''
            if base.__name__ == 'BaseSegDataset':
                return 'segmentation'
        return ''

    def decoding(self) -> tuple[str, str]:
        """Return backend and colour type with which its images are read, mmcv's names."""
        loader = self.step('LoadImageFromFile')
        return loader.get('imdecode_backend', 'cv2'), loader.get('color_type', 'color')

    def step(self, name: str) -> ConfigDict:
        """Return the options of the pipeline's first transform of this name, or an empty dict."""
        found = pipeline_steps(self.config.get('pipeline') or [])
        return next((one for one in found if type_name(one) == name), ConfigDict())


def configured_datasets(config: Config, findings: Findings) -> list[ConfiguredDataset]:
    """Build the datasets of all splits lazily; datasets that cannot be built are findings.

    A test split that equals the val split is returned once.
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
                    # Without transforms and annotations, which are checked later, one by one.
                    built = DATASETS.build({**leaf, 'pipeline': [], 'lazy_init': True})
            except Exception as error:  # a dataset class may raise anything
                findings.of_split(name).error(
                    'dataset not built',
                    f'{leaf.get("type")} cannot be built ({type(error).__name__}: '
                    f'{first_line(error)}); correct {split}_dataloader.dataset',
                )
            else:
                found.append(ConfiguredDataset(name, split, leaf, built))
    return found
