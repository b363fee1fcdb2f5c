"""Runs the cases: ``python -m tests.fake_cuda.run LIBRARY OUT.json [part of a name …]``."""

import json
import sys
import traceback
from pathlib import Path

from tests.fake_cuda.device import load


def main() -> None:
    library, out, *parts = sys.argv[1:]
    load(Path(library))
    import mmconvnext  # noqa: F401  (before mmseg and mmdet)
    from tests.fake_cuda.cases import CASES

    results = {}
    for name, run in CASES.items():
        if parts and not any(part in name for part in parts):
            continue
        try:
            results[name] = run()
        except Exception:  # to be seen in the test of this case
            results[name] = dict(error=traceback.format_exc()[-2000:])
    Path(out).write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
