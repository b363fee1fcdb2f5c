#!/usr/bin/env bash
# Train on many GPUs: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# On several machines, start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
# SIGTERM and SIGINT save and stop, SIGUSR1 saves and goes on: send them to this process.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo 'usage: [NNODES=N NODE_RANK=R MASTER_ADDR=HOST PORT=P] tools/dist_train.sh CONFIG GPUS [options of tools/train.py]' >&2
    exit 2
fi
tools=$(cd "$(dirname "$0")" && pwd)
exec "$tools/dist.sh" "$2" "$tools/train.py" "$1" --launcher pytorch "${@:3}"
