#!/usr/bin/env bash
# Test on many GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# On several machines, start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo 'usage: [NNODES=N NODE_RANK=R MASTER_ADDR=HOST PORT=P] tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]' >&2
    exit 2
fi
tools=$(cd "$(dirname "$0")" && pwd)
exec "$tools/dist.sh" "$3" "$tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
