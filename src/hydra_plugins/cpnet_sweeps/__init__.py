"""Register the launcher and the sweeper of cpnet: Hydra accepts only classes defined under ``hydra_plugins``."""

from cpnet.launch import launcher, search


class ProcessLauncher(launcher.ProcessLauncher):
    """See ``cpnet.launch.launcher.ProcessLauncher``."""


class OptunaSweeper(search.OptunaSweeper):
    """See ``cpnet.launch.search.OptunaSweeper``."""
