#!/usr/bin/env bash
# Start torchrun for dist_train.sh and dist_test.sh: tools/dist.sh GPUS SCRIPT [arguments of the script]
set -euo pipefail
# Seconds that the processes have for saving after SIGTERM, before torchrun kills them.
export PET_SHUTDOWN_TIMEOUT="${PET_SHUTDOWN_TIMEOUT:-300}"
# torchrun ends all processes at any signal that it handles, and dies of those that it does not.
# SIGUSR1 has to be neither: it is passed on to the processes that torchrun has started.
# A process that fails prints an error itself, unless it is killed.
torchrun='
import logging, os, signal, sys
from pathlib import Path
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
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
logging.disable(logging.ERROR)
try:
    main()
except SignalException as stopped:
    sys.exit(128 + stopped.sigval)
except ChildFailedError as error:
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        sys.exit(failure.exitcode)
    number = signal.Signals(-failure.exitcode)
    print(f"error: process {rank} (PID {failure.pid}) was killed by {number.name}, and the other "
          "processes were ended; training continues with --resume", file=sys.stderr)
    sys.exit(128 + number)
'
exec "${PYTHON:-python}" -c "$torchrun" --signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$1" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" "${@:2}"
