"""Configurations that try to create the file ``pwned`` in the current folder."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]

SHELL = "touch pwned"
SYSTEM: Node = {"_target_": "os.system", "command": SHELL}
LATER: Node = {"_target_": "subprocess.run", "_partial_": True, "args": ["touch", "pwned"]}
CALLBACK = "pytorch_lightning.callbacks.LambdaCallback"

# A node and the key that the error must name
TARGETS: dict[str, tuple[str, Node]] = {
    "os": ("node._target_=os.system", SYSTEM),
    "posix": ("node._target_=posix.system", {**SYSTEM, "_target_": "posix.system"}),
    "subprocess": ("node._target_=subprocess.run", {"_target_": "subprocess.run", "args": ["touch", "pwned"]}),
    "exec": ("node._target_=builtins.exec", {"_target_": "builtins.exec", "source": "open('pwned', 'w')"}),
    "eval": ("node._target_=builtins.eval", {"_target_": "builtins.eval", "source": "open('pwned', 'w')"}),
    "through a module of cpnet": ("node._target_", {**SYSTEM, "_target_": "cpnet.launch.launcher.os.system"}),
    "a function of cpnet": ("node._target_", {"_target_": "cpnet.files.replacing", "target": "pwned"}),
    "a similar package name": ("node._target_=cpnet_models.Model", {"_target_": "cpnet_models.Model"}),
    "pathlib": ("node._target_=pathlib.Path.touch", {"_target_": "pathlib.Path.touch", "self": "pwned"}),
    "Hydra": ("node._target_=hydra.utils.call", {"_target_": "hydra.utils.call", "config": SYSTEM}),
    "W&B": ("node._target_", {"_target_": "pytorch_lightning.loggers.WandbLogger"}),
    "nested": ("node.on_fit_start._target_=subprocess.run", {"_target_": CALLBACK, "on_fit_start": LATER}),
    "nested in a list": ("node.a[0]._target_=os.system", {"_target_": CALLBACK, "a": [SYSTEM]}),
    "positional": ("node._args_[0]._target_=os.system", {"_target_": CALLBACK, "_args_": [SYSTEM]}),
    "an interpolation": ("node._target_=os.system", {"_target_": "${oc.decode:\"'os.system'\"}"}),
    "made by a resolver": (
        "node.on_fit_start._target_=os.system",
        {"_target_": CALLBACK, "on_fit_start": "${oc.create:'{_target_: os.system, command: " + SHELL + "}'}"},
    ),
}

# Root keys of a checkpoint's configuration on which Hydra would act
HYDRA: dict[str, Node] = {
    "callbacks": {"hydra": {"callbacks": {"evil": SYSTEM}}},
    "launcher": {"hydra": {"launcher": SYSTEM}, "hydra/launcher": "basic"},
    "job": {"hydra": {"job": {"chdir": True, "env_set": {"CPNET_TRUSTED": "os, posix, subprocess"}}}, "model": SYSTEM},
    "logging": {"hydra": {"job_logging": {"handlers": {"evil": {"()": "os.system", "command": SHELL}}}}},
    "search path": {"hydra": {"searchpath": ["file://sent"]}, "defaults": [{"experiment": "evil"}]},
    "defaults": {"defaults": ["/evil"]},
}
