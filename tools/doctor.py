"""Check the installation: print versions, what would fail, and the command that fixes it.

It checks the distributions behind mmengine, mmcv, mmdet and mmseg, the implementations of mmcv's
operators, torch and its device, and known incompatibilities. It works without OpenMMLab and torch
too. The exit code is 1 if something would fail, else 0. `python -m mmconvnext` does the same.

Example:
    python tools/doctor.py
    python tools/doctor.py --json
"""

import sys
from importlib.util import find_spec, module_from_spec


def make_importable() -> str | None:
    """Return the error of importing mmconvnext, or None; parts without dependencies still load."""
    found = find_spec('mmconvnext')
    if found is None:
        sys.exit('error: expected mmconvnext to be installed, found none; pip install .')
    try:
        import mmconvnext  # noqa: F401
    except Exception as error:  # any error is reported
        # An empty package: its modules can be imported one by one.
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
