"""Say what this environment has, what of it would fail, and the command that mends it.

Looks at the distributions behind mmengine, mmcv, mmdet and mmseg, at what serves mmcv's operators,
at torch and its device, and at what is known to fail together. Answers without OpenMMLab or torch
too. Exits with 1 where something would fail, else with 0. The same: python -m mmconvnext.

Example:
    python tools/doctor.py
    python tools/doctor.py --json
"""

import sys
from importlib.util import find_spec, module_from_spec


def make_importable() -> str | None:
    """What importing mmconvnext says where it fails; those of its parts that need nothing load."""
    found = find_spec('mmconvnext')
    if found is None:
        sys.exit('error: expected mmconvnext to be installed, found none; pip install .')
    try:
        import mmconvnext  # noqa: F401
    except Exception as error:  # whatever is wrong with the stack: to say it is what this is for
        # The package without what its first lines import.
        sys.modules['mmconvnext'] = module_from_spec(found)
        return f'{type(error).__name__}: {error}'.splitlines()[0]
    return None


def main() -> None:
    problem = make_importable()
    try:
        from mmconvnext.doctor.report import main as report
    except ModuleNotFoundError as error:
        sys.exit(f'error: mmconvnext needs {error.name}, which is not installed; pip install .')
    report(__doc__, package_problem=problem)


if __name__ == '__main__':
    main()
