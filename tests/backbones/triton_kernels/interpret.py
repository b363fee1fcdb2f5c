"""Run cases in Triton's interpreter.

``python -m tests.backbones.triton_kernels.interpret OUT.json``
"""

import json
import os
import sys
import traceback
from pathlib import Path


def main() -> None:
    os.environ['TRITON_INTERPRET'] = '1'  # before Triton is imported
    import mmconvnext  # noqa: F401
    from tests.backbones.triton_kernels.cases import CASES, LONG_CASES

    out, *long = sys.argv[1:]
    results = {}
    for name, run in (LONG_CASES if long else CASES).items():
        try:
            results[name] = run()
        except Exception:  # to be seen in the test of this case
            results[name] = dict(error=traceback.format_exc()[-3000:])
    Path(out).write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
