"""Build the objects that configuration nodes describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cpnet.config import make_later
from cpnet.errors import ConfigError


@contextmanager
def config_errors(key: str) -> Iterator[None]:
    """Convert a constructor's errors into errors of a configuration group.

    Raises:
        ConfigError: the constructor rejected a value, or lacks an optional package; the message begins with the key
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        # By its name, because Lightning takes seconds to import, and a trained model does not need it.
        rejected = isinstance(error, ValueError | TypeError | ModuleNotFoundError)  # an optional package is missing
        if not rejected and type(error).__name__ != "MisconfigurationException":
            raise
        text = str(error)
        raise ConfigError(text if text.startswith(key) else f"{key}: {text}") from error


def factory(node: DictConfig) -> Callable[..., Any]:
    """Return a callable that builds the ``_target_`` of a node from the node's keys and further arguments."""

    def make(*args: Any, **kwargs: Any) -> Any:
        with config_errors(str(node._get_full_key(None))):
            return make_later(node)(*args, **kwargs)

    return make


def instantiate(node: DictConfig, **kwargs: Any) -> Any:
    """Build the ``_target_`` of a node.

    Raises:
        ConfigError: the constructor rejected a value
    """
    return factory(node)(**kwargs)


def instantiate_all(nodes: DictConfig) -> list[Any]:
    """Build every node of a group such as ``callbacks``. Nodes set to null are skipped."""
    return [instantiate(node) for node in nodes.values() if node]


def containers(node: DictConfig) -> dict[str, Any]:
    """Resolve a node to plain dictionaries and lists."""
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
