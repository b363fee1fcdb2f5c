"""Published costs and results of configs, from configs/metafile.yml."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import mmconvnext
from mmconvnext.errors import UserError, first_line

NAME = 'metafile.yml'
# Rounded, as printed in the papers; `Parameters` and `GMACs` are counted from the configs.
_PUBLISHED = ('Published Parameters (M)', 'Published GFLOPs')


class Record(NamedTuple):
    """An entry of the metafile; missing values are None or empty."""

    parameters_m: float | None
    gmacs: float | None
    results: dict[str, float]
    source: str


def read_record(config: str | Path) -> Record | None:
    """Return the record of a config file from the metafile in its folder, or None.

    Raises:
        UserError: the metafile does not have the expected format.
    """
    config = Path(config)
    path = config.parent / NAME
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text())
        models = {Path(model['Config']).name: model for model in content['Models']}
        papers = {one['Name']: one.get('Paper', '') for one in content.get('Collections', [])}
        model = models.get(config.name)
        return model and _record(model, papers.get(model.get('In Collection'), ''))
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path}: expected a metafile of OpenMMLab, got {type(error).__name__} '
            f'({first_line(error)}); repair it or move it away'
        ) from error


@cache
def own_record(name: str) -> Record:
    """Return the record of one of this project's configs, by its name.

    Raises:
        UserError: the metafile is missing or does not have the expected format.
    """
    package = Path(mmconvnext.__file__).parent
    installed = package / '.mim' / 'configs'  # in an installed package; a checkout has configs/
    configs = installed if installed.is_dir() else package.parent / 'configs'
    record = read_record(configs / f'{name}.py')
    if record is None:
        raise UserError(f'{configs / NAME}: expected it with an entry of {name}, got none')
    return record


def _record(model: dict[str, Any], paper: Any) -> Record:
    metadata = model.get('Metadata') or {}
    results: dict[str, float] = {}
    for result in model.get('Results') or []:
        results.update(result['Metrics'])
    source = metadata.get('Published By') or (paper['URL'] if isinstance(paper, dict) else paper)
    parameters, macs = (metadata.get(key) for key in _PUBLISHED)
    return Record(parameters, macs, results, str(source))
