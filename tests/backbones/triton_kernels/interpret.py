"""Run cases in Triton's interpreter.

``python -m tests.backbones.triton_kernels.interpret OUT.json``
"""

import json
import os
import sys
import traceback
from pathlib import Path


def keep_masks() -> None:
    """Let a condition that meets a block stay one: Triton 3.9's interpreter makes it bytes."""
    from triton.runtime.interpreter import InterpreterBuilder

    splat = InterpreterBuilder.create_splat

    def of_its_kind(self, kind, scalar):
        handle = splat(self, kind, scalar)
        if scalar.data.dtype == bool:
            handle.data = handle.data.astype(bool)
        return handle

    InterpreterBuilder.create_splat = of_its_kind


def main() -> None:
    os.environ['TRITON_INTERPRET'] = '1'  # before Triton is imported
    import mmconvnext  # noqa: F401

    keep_masks()
    from mmconvnext.backbones import triton_kernels
    from tests.backbones.triton_kernels.cases import CASES, LONG_CASES

    triton_kernels.run_on = lambda x, dtype: (
        dtype.itemsize == 2 and x.shape[-1] <= triton_kernels.MOST_CHANNELS
    )

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
