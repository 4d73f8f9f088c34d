"""What somebody could put into a file that they send: each would make the file ``pwned`` in the current folder."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]

SHELL = "touch pwned"
SYSTEM: Node = {"_target_": "os.system", "command": SHELL}
LATER: Node = {"_target_": "subprocess.run", "_partial_": True, "args": ["touch", "pwned"]}
CALLBACK = "pytorch_lightning.callbacks.LambdaCallback"

# Of an experiment: the key that is refused, and the content
TARGETS: dict[str, tuple[str, Node]] = {
    **{
        name: ("callbacks.evil", {"callbacks": {"evil": node}})
        for name, node in {
            "os": SYSTEM,
            "posix": {**SYSTEM, "_target_": "posix.system"},
            "subprocess": {"_target_": "subprocess.run", "args": ["touch", "pwned"]},
            "exec": {"_target_": "builtins.exec", "source": "open('pwned', 'w')"},
            "eval": {"_target_": "builtins.eval", "source": "open('pwned', 'w')"},
            "through a module of ours": {**SYSTEM, "_target_": "cpnet.jobs.os.system"},
            "what writes a file of ours": {"_target_": "cpnet.results.write_json", "path": "pwned", "content": {}},
        }.items()
    },
    "pathlib": ("dataset.reader", {"dataset": {"reader": {"_target_": "pathlib.Path.touch", "self": "pwned"}}}),
    "a look-alike of ours": ("model", {"model": {"_target_": "cpnet_models.Model"}}),
    "Hydra's own": ("logger.evil", {"logger": {"evil": {"_target_": "hydra.utils.call", "config": SYSTEM}}}),
    "nested": ("callbacks.evil.on_fit_start", {"callbacks": {"evil": {"_target_": CALLBACK, "on_fit_start": LATER}}}),
    "nested in a list": (
        "callbacks.evil.on_fit_start[0]",
        {"callbacks": {"evil": {"_target_": CALLBACK, "on_fit_start": [SYSTEM]}}},
    ),
    "positional": ("optimizer", {"optimizer": {"_args_": [SYSTEM]}}),
    "a logger that sends": ("logger.w", {"logger": {"w": {"_target_": "pytorch_lightning.loggers.WandbLogger"}}}),
    "an interpolation": ("sampling", {"dataset": {"name": "os.system"}, "sampling": {"_target_": "${dataset.name}"}}),
    "made by a resolver": (
        "callbacks.checkpoint.flush",
        {"callbacks": {"checkpoint": {"flush": "${oc.create:'{_target_: os.system, command: " + SHELL + "}'}"}}},
    ),
}
LATE = {"an interpolation", "made by a resolver"}  # known when it is called, not before
CALL: Node = {"()": "os.system", "command": SHELL}

# Of the node hydra in an experiment
HYDRAS: dict[str, tuple[str, Node]] = {
    "callback": ("hydra.callbacks.evil", {"callbacks": {"evil": SYSTEM}}),
    "callback of a plugin's module": (
        "hydra.callbacks.evil",
        {"callbacks": {"evil": {**SYSTEM, "_target_": "hydra_plugins.cpnet_sweeps.launcher.os.system"}}},
    ),
    "working directory": ("hydra.job.chdir", {"job": {"chdir": True}}),
    "formatter": ("hydra.job_logging.formatters.evil", {"job_logging": {"formatters": {"evil": CALL}}}),
    "handler": ("hydra.hydra_logging.handlers.evil", {"hydra_logging": {"handlers": {"evil": CALL}}}),
    "filter": ("hydra.job_logging.filters.evil", {"job_logging": {"filters": {"evil": CALL}}}),
    "class": ("hydra.job_logging.handlers.console", {"job_logging": {"handlers": {"console": {"class": "os.system"}}}}),
    "import": ("hydra.job_logging.root.level", {"job_logging": {"root": {"level": "ext://evil.module"}}}),
    "interpolated import": ("hydra.job_logging.root.level", {"job_logging": {"root": {"level": "${run_name}"}}}),
    "log elsewhere": (
        "hydra.job_logging.handlers.file",
        {"job_logging": {"handlers": {"file": {"filename": "pwned"}}}},
    ),
    "log above": (
        "hydra.job_logging.handlers.file",
        {"job_logging": {"handlers": {"file": {"filename": "${hydra.runtime.output_dir}/../pwned.log"}}}},
    ),
    "environment": ("hydra.job.env_set", {"job": {"env_set": {"CPNET_TRUSTED": "os,posix"}}}),
    "copied environment": ("hydra.job.env_copy", {"job": {"env_copy": ["PATH"]}}),
    "name of the job": ("hydra.job.name", {"job": {"name": "../../pwned"}}),
    "launcher": ("hydra.launcher", {"launcher": SYSTEM}),
    "nested in the launcher": ("hydra.launcher.n_jobs", {"launcher": {"n_jobs": SYSTEM}}),
    "sweeper": ("hydra.sweeper", {"sweeper": SYSTEM}),
}
