"""From a command line to processes: Hydra commands, error messages, signals, sweeps."""
