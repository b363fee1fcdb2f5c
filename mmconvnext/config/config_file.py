"""Write configs such that reading them gives the same values and runs no code in strings."""

import json
import traceback
import warnings
from pathlib import Path

import mmengine.config
import yaml

from mmconvnext.config import python_source
from mmconvnext.config.plain_values import plain
from mmconvnext.config.safe_formats import PYTHON_TAG
from mmconvnext.errors import UserError, first_line


class Config(mmengine.config.Config):
    r"""Like mmengine's Config, but strings in the written file are not interpreted on reading.

    A class called ``{{$HOME:x}}`` has another name after mmengine has written and read it, and a
    class called ``x}}',__import__('os').system('…')`` can run code. Here braces are escaped:
    ``\x7b``. YAML keeps tuples; JSON turns tuples into lists and numeric keys into strings.
    """

    @staticmethod
    def fromfile(filename: str | Path, *args: object, **options: object) -> 'Config':
        return Config.of(mmengine.config.Config.fromfile(filename, *args, **options))

    @classmethod
    def of(cls, config: mmengine.config.Config) -> 'Config':
        """Return a config of this class that shares its entries with a config of mmengine."""
        made = cls.__new__(cls)
        made.__setstate__(config.__getstate__())
        return made

    @property
    def pretty_text(self) -> str:
        """Return the Python source of the entries, in mmengine's order."""
        return python_source.module(plain(self.to_dict()))

    def dump(self, file: str | Path | None = None) -> str | None:
        """Write the config to a .py, .yaml, .yml or .json file.

        Without a file, return the text in the format of the config's own file.
        """
        suffix = Path(file or self.filename or 'a.py').suffix
        if suffix not in _WRITERS:
            return super().dump(file)
        text = _WRITERS[suffix](plain(self.to_dict()))
        if file is None:
            return text
        Path(file).write_text(text, encoding='utf-8')
        return None


class _Dumper(yaml.SafeDumper):
    """Writes tuples, and quotes strings with braces, so that braces can be escaped."""


def _string_node(dumper: _Dumper, value: str) -> yaml.Node:
    style = None if value.isascii() and value.isprintable() and '{' not in value else '"'
    return dumper.represent_scalar('tag:yaml.org,2002:str', value, style=style)


_Dumper.add_representer(
    tuple, lambda dumper, value: dumper.represent_sequence(PYTHON_TAG + 'tuple', value)
)
_Dumper.add_representer(str, _string_node)
_Dumper.add_representer(range, lambda dumper, value: dumper.represent_list(list(value)))
_Dumper.add_representer(frozenset, _Dumper.represent_set)
_Dumper.add_representer(complex, lambda dumper, value: dumper.represent_str(str(value)))


def _yaml(values: dict) -> str:
    return yaml.dump(values, Dumper=_Dumper).replace('{{', r'\x7b\x7b')


def _json(values: dict) -> str:
    return json.dumps(values, default=_for_json).replace('{{', r'\u007b\u007b')


def _for_json(value: object) -> object:
    return list(value) if isinstance(value, set | frozenset | range) else str(value)


_WRITERS = {'.py': python_source.module, '.yaml': _yaml, '.yml': _yaml, '.json': _json}


def read_config(path: str | Path, *, import_custom_modules: bool = True) -> Config:
    """Read a config file. It is Python and can run any code: read only files that the user named.

    The file is .py, .yaml, .yml or .json. ``import_custom_modules`` imports the modules in its
    ``custom_imports``.

    Raises:
        UserError: the file does not exist, or reading it fails.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such config file; see configs/ for those there')
    try:
        return Config.fromfile(path, import_custom_modules=import_custom_modules)
    except Exception as error:  # a config is Python and may raise anything
        with warnings.catch_warnings():  # about a temporary file that mmengine leaves open
            warnings.simplefilter('ignore', ResourceWarning)
            traceback.clear_frames(error.__traceback__)
        is_told = isinstance(error, UserError)
        raise UserError(f'{path}: {error}' if is_told else unusable_config(path, error)) from error


def unusable_config(path: str | Path, error: Exception) -> str:
    """Return the message for a config that raised an error."""
    cause: BaseException = error
    while isinstance(cause, ImportError) and cause.__context__ is not None:
        cause = cause.__context__
    if isinstance(cause, ModuleNotFoundError):
        remedy = f'install {cause.name}, or remove what needs it from the config'
        if cause.name and cause.name.split('.')[0] == 'mmpretrain':
            remedy = (
                "for its ConvNeXt set custom_imports=dict(imports=['mmconvnext']) and "
                "type='mmconvnext.ConvNeXt', which takes its checkpoints too"
            )
        return f'{path}: not a usable config (it imports {cause.name}, which is missing); {remedy}'
    return f'{path}: not a usable config ({type(error).__name__}: {first_line(error)})'
