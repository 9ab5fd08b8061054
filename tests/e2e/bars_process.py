"""A sweep's bars without a sweep: ``python -m tests.e2e.bars_process [unwatched] [wide]``.

Lines, log records and prints come while the bars are drawn; then Ctrl-C is waited for. The log's
handler is made before the bars. ``unwatched`` has it write to the terminal through a file of its
own, ``wide`` leaves no room for what the terminal echoes: the controls.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence

from embedsweep.cli import progress

STEPS = 12


def main(words: Sequence[str]) -> None:
    if "wide" in words:
        progress.ECHO_WIDTH = 0
    stream = os.fdopen(os.dup(2), "w") if "unwatched" in words else sys.stderr
    logger = logging.getLogger("embedsweep.told")
    logger.addHandler(logging.StreamHandler(stream))
    with progress.progress() as shown:
        shown.sweep(3, 9, 0.5)
        shown.trial("trial 3", 0, None)
        for step in range(STEPS):
            time.sleep(0.15)
            shown.trial("trial 3", step, STEPS)
            if step == STEPS // 2:
                logger.warning("record in the middle")
                shown.say("line in the middle")
                sys.stdout.write("print in the middle\n")
        shown.say("ready")
        time.sleep(100)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
