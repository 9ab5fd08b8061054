"""The experiment file and the environment, read whole and refused whole."""

from embedsweep.config.environment import StoreLocations, load_environment
from embedsweep.config.experiment import experiment_schema, load_experiment

__all__ = ["StoreLocations", "experiment_schema", "load_environment", "load_experiment"]
