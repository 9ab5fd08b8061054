"""The experiment file and the environment, read whole and refused whole."""
