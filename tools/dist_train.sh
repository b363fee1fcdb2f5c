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
# Seconds that the processes have for saving after SIGTERM, before torchrun kills them.
export PET_SHUTDOWN_TIMEOUT="${PET_SHUTDOWN_TIMEOUT:-300}"
# torchrun ends all processes at any signal that it handles, and dies of those that it does not.
# SIGUSR1 has to be neither: it is passed on to the processes that torchrun has started.
torchrun='
import os, signal
from pathlib import Path
from torch.distributed.run import main
def pass_on(number, frame):
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                os.kill(int(status.parent.name), number)
        except OSError:
            pass  # it has just ended
signal.signal(signal.SIGUSR1, pass_on)
main()
'
exec "${PYTHON:-python}" -c "$torchrun" --signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$2" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$tools/train.py" "$1" --launcher pytorch "${@:3}"
