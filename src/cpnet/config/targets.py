"""Restrict what a ``_target_`` of a configuration may call, because a checkpoint may be untrusted.

The name is checked before anything is imported. The object is checked before it is called, because an allowed module
also contains the objects that it imports.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from cpnet.errors import ConfigError

TRUSTED = "CPNET_TRUSTED"  # environment variable, which no file can set: the user's own packages
# Allowed names, each with the place where the object must be defined
ALLOWED = {
    "cpnet.models": "cpnet.models",
    "cpnet.training.losses": "cpnet.training.losses",
    "cpnet.training.schedules": "cpnet.training.schedules",
    "cpnet.training.callbacks.average.WeightAverage": "cpnet.training.callbacks.average.WeightAverage",
    "cpnet.training.callbacks.recovery.Recovery": "cpnet.training.callbacks.recovery.Recovery",
    "cpnet.training.callbacks.non_finite.NonFinite": "cpnet.training.callbacks.non_finite.NonFinite",
    "cpnet.data.readers": "cpnet.data.readers",
    "cpnet.data.sampling": "cpnet.data.sampling",
    "cpnet.data.corpora.synthetic.SyntheticCorpus": "cpnet.data.corpora.synthetic.SyntheticCorpus",
    "cpnet.data.corpora.rendered.RenderedCorpus": "cpnet.data.corpora.rendered.RenderedCorpus",
    "cpnet.tracking.RunLogger": "cpnet.tracking.runs.RunLogger",
    "torch.optim": "torch.optim",
    "pytorch_lightning.Trainer": "pytorch_lightning.trainer.trainer.Trainer",
    "pytorch_lightning.callbacks": "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers.TensorBoardLogger": "pytorch_lightning.loggers.tensorboard.TensorBoardLogger",
}
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_TARGET, _PARTIAL = "_target_", "_partial_"


def make_later(node: DictConfig) -> functools.partial[Any]:
    """Return the ``_target_`` of a node as a partial with the node's arguments. Nested targets are instantiated.

    Raises:
        ConfigError: the target is not allowed, or does not exist
        TypeError: the node is no mapping
    """
    if not isinstance(node, DictConfig):
        raise TypeError(f"a mapping with {_TARGET} is needed; got {node!r}")
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    # Hydra's instantiate would resolve interpolations a second time, after the check.
    return _partial({str(key): value for key, value in plain.items()}, str(node._get_full_key(None)))


def check_call(later: functools.partial[Any], arguments: Mapping[str, Any], key: str) -> None:
    """Raise a ``ConfigError`` if a later call lacks an argument or has an unknown one."""
    takes = inspect.signature(later.func)
    try:
        takes.bind(**{**later.keywords, **arguments})
    except TypeError as error:
        target = later.func.__qualname__
        raise ConfigError(f"{key}: {target}: {error}; it takes {', '.join(takes.parameters)}") from error


def _partial(node: Mapping[str, Any], key: str) -> functools.partial[Any]:
    target = _locate(node.get(_TARGET), f"{key}.{_TARGET}")
    arguments = {name: _make(value, f"{key}.{name}") for name, value in node.items() if name not in (_TARGET, _PARTIAL)}
    return functools.partial(target, **_gathered(target, arguments))


def _gathered(target: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Join the arguments that are fields of the target's options dataclass into its ``options`` argument.

    A target without an ``options`` parameter, or with one that is no dataclass, takes all arguments by name.
    """
    if "options" in arguments or "options" not in inspect.signature(target).parameters:
        return arguments
    options = inspect.signature(target, eval_str=True).parameters["options"].annotation
    if not is_dataclass(options):
        return arguments
    names = {field.name for field in fields(options)}
    others = {name: value for name, value in arguments.items() if name not in names}
    return others | {"options": _dataclass(options, {name: arguments[name] for name in names & arguments.keys()})}


def _dataclass(kind: Any, values: Mapping[str, Any]) -> Any:
    types = get_type_hints(kind)
    nested = {name for name, value in values.items() if is_dataclass(types.get(name)) and isinstance(value, Mapping)}
    return kind(**{name: _dataclass(types[name], value) if name in nested else value for name, value in values.items()})


def _make(value: Any, key: str) -> Any:
    if isinstance(value, dict) and _TARGET in value:
        later = _partial(value, key)
        return later if value.get(_PARTIAL) is True else later()
    if isinstance(value, dict):
        return {name: _make(each, f"{key}.{name}") for name, each in value.items()}
    return [_make(each, f"{key}[{place}]") for place, each in enumerate(value)] if isinstance(value, list) else value


def _locate(target: object, key: str) -> Callable[..., Any]:
    name = _check_name(target, key)
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}={name}: there is no such class or function ({error})") from error
    defined = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
    # Functions are allowed from this package only
    kind = type if not name.startswith("cpnet.") else (type, FunctionType)
    expected = [place for spelled, place in ALLOWED.items() if _lies_in(name, (spelled,))]
    if _lies_in(defined, _trusted_packages()) or (isinstance(found, kind) and _lies_in(defined, expected)):
        allowed: Callable[..., Any] = found
        return allowed
    raise _refusal(f"{key}={name}, defined as {defined},")


def _check_name(target: object, key: str) -> str:
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        raise ConfigError(f"{key} must be the dotted name of a class or function; got {target!r}")
    if not _lies_in(target, (*ALLOWED, *_trusted_packages())):
        raise _refusal(f"{key}={target}")
    return target


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        f"{what} is not allowed, because a configuration could run any program.\n"
        f"  Allowed: what is defined in {', '.join(ALLOWED)}.\n"
        f"  To allow a package of your own, set the environment variable {TRUSTED}=my_package"
    )


def _trusted_packages() -> tuple[str, ...]:
    return tuple(name.strip() for name in os.environ.get(TRUSTED, "").split(",") if name.strip())


def _lies_in(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
