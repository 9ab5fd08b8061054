"""A fine-tuning service to kill: `python -m tests.integration.fine_tuning_process FOLDER`.

It logs on stderr and trains with the quick trainer. Every process it starts loads this module
again, so that what only the server needs is loaded by `main`.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    import logging

    from embedsweep.serving.address import Address
    from embedsweep.serving.fine_tuning.limits import FineTuningLimits
    from embedsweep.serving.fine_tuning.service import FineTuning
    from embedsweep.serving.fine_tuning.tuned_shelf import Offer
    from embedsweep.serving.run import serve
    from tests.integration import quick_trainer

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = ("base-model", "owner/other-base")
    offer = Offer(names, lambda name: quick_trainer.NumberedEmbedder(1), quick_trainer.open_model)
    limits = FineTuningLimits(free_bytes=0)
    service = FineTuning(folder, quick_trainer.train, offer, limits)
    serve(None, Address(port=0), fine_tuning=service)
    sys.stderr.write("ended\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
