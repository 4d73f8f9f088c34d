"""What is raised for a value that cannot work."""


class ConfigError(ValueError):
    """A value of the configuration cannot work; the message names its key, the value, and what is allowed."""
