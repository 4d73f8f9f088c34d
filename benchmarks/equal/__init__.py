"""A module a model: its own code and ours with the same weights and inputs."""
