"""What a configuration may have made: objects of a short list, whoever wrote its file or sent its checkpoint.

A ``_target_`` is code that is called by its name. Names are checked before anything is imported, and what was found is
checked before it is called, since a name may lead through a module to what that module imports.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cpnet.config.errors import ConfigError

TRUSTED = "CPNET_TRUSTED"  # the environment's, and so the user's: no file can set it
# Where the object has to be defined, by the name that a configuration has for it
ALLOWED = {
    **{name: name for name in ("cpnet.models", "cpnet.losses", "cpnet.schedules")},
    **{name: name for name in ("cpnet.data.readers", "cpnet.data.sampling", "cpnet.data.synthetic.SyntheticCorpus")},
    "cpnet.recovery.Recovery": "cpnet.recovery.saving.Recovery",
    "cpnet.recovery.NonFinite": "cpnet.recovery.non_finite.NonFinite",
    "cpnet.tracking.wandb_logger": "cpnet.tracking.runs.wandb_logger",
    "torch.optim": "torch.optim",
    "pytorch_lightning.Trainer": "pytorch_lightning.trainer.trainer.Trainer",
    "pytorch_lightning.callbacks": "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers.TensorBoardLogger": "pytorch_lightning.loggers.tensorboard.TensorBoardLogger",
}
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_TARGET, _PARTIAL = "_target_", "_partial_"
_HYDRAS = {"_args_", "_convert_", "_recursive_"}  # which no file here needs


def trusted_packages() -> tuple[str, ...]:
    """Give the packages that the user trusts beside ours, named in the environment."""
    return tuple(name.strip() for name in os.environ.get(TRUSTED, "").split(",") if name.strip())


def is_trusted(name: str) -> bool:
    """Whether a dotted name lies in a package that the user trusts."""
    return _lies_in(name, trusted_packages())


def make_later(node: DictConfig) -> functools.partial[Any]:
    """Give the callable of a node's ``_target_`` with the arguments that the node holds, nodes below it made.

    Raises:
        ConfigError: a target that a configuration may not name, or that is not there
    """
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    # Not Hydra's instantiate, which resolves once more what is checked here.
    return _partial({str(key): value for key, value in plain.items()}, str(node._get_full_key(None)))


def check_targets(node: object, key: str = "") -> None:
    """Look at the name of every target of a configuration, interpolations unresolved; nothing is imported.

    Raises:
        ConfigError: a target that a configuration may not name
    """
    for path, mapping in mappings(node, key):
        _check_keys(mapping, path)
        target = mapping.get(_TARGET)
        if isinstance(target, str) and "${" not in target and target != "???":
            _check_name(target, f"{path}.{_TARGET}")


def mappings(node: object, key: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Give every mapping of plain containers with its dotted key, the outermost first."""
    if isinstance(node, Mapping):
        yield key, node
        for name, value in node.items():
            yield from mappings(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for place, value in enumerate(node):
            yield from mappings(value, f"{key}[{place}]")


def _partial(node: Mapping[str, Any], key: str) -> functools.partial[Any]:
    _check_keys(node, key)
    target = _locate(node.get(_TARGET), f"{key}.{_TARGET}")
    arguments = {name: _made(value, f"{key}.{name}") for name, value in node.items() if name not in (_TARGET, _PARTIAL)}
    return functools.partial(target, **arguments)


def _made(value: Any, key: str) -> Any:
    if isinstance(value, dict) and _TARGET in value:
        later = _partial(value, key)
        return later if value.get(_PARTIAL) is True else later()
    if isinstance(value, dict):
        _check_keys(value, key)
        return {name: _made(each, f"{key}.{name}") for name, each in value.items()}
    return [_made(each, f"{key}[{place}]") for place, each in enumerate(value)] if isinstance(value, list) else value


def _locate(target: object, key: str) -> Callable[..., Any]:
    name = _check_name(target, key)
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}={name}: there is no such class or function ({error})") from error
    defined = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
    # Of the frameworks classes alone
    kind = type if not name.startswith("cpnet.") else (type, FunctionType)
    expected = [place for spelled, place in ALLOWED.items() if _lies_in(name, (spelled,))]
    if is_trusted(defined) or (isinstance(found, kind) and _lies_in(defined, expected)):
        made: Callable[..., Any] = found
        return made
    raise _refusal(f"{key}={name}, which is {defined},")


def _check_name(target: object, key: str) -> str:
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        raise ConfigError(f"{key} must be the dotted name of a class or function; got {target!r}")
    if not _lies_in(target, ALLOWED) and not is_trusted(target):
        raise _refusal(f"{key}={target}")
    return target


def _check_keys(node: Mapping[Any, Any], key: str) -> None:
    if found := sorted(_HYDRAS & node.keys()):
        raise ConfigError(f"{key}.{found[0]} is not allowed here; give arguments by their names")


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        f"{what} is nothing that a configuration may call, for it could be any program.\n"
        f"  Allowed is what is defined in {', '.join(ALLOWED)}.\n"
        f"  For code of your own name its package in the environment: {TRUSTED}=my_package"
    )


def _lies_in(name: str, places: Any) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
