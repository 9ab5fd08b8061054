"""One sweep: baselines, then ask, train, measure, record, tell, until the trials are done."""

from embedsweep.workflows.sweep.story import SweepOptions, run_sweep

__all__ = ["SweepOptions", "run_sweep"]
