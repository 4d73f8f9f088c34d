"""``python -m cpnet.demo [checkpoint=PATH] [port=8000]``: a page on which a model answers about your videos.

``zero_shot=BACKBONE weights=PATH`` answers without training.

Serves 127.0.0.1 alone. No request leaves the machine.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from contextlib import suppress
from importlib.util import find_spec

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Load the model and serve the page until a signal stops it.

    Raises:
        ConfigError: a value is invalid, the port is in use, or a package is missing
        DataError: there is no checkpoint, it is damaged, or its model cannot encode video files
    """
    if not all(map(find_spec, ("starlette", "uvicorn"))):
        raise ConfigError("the page needs pip install 'cpnet-grounding[demo]'")
    for key in ("top", "max_mb", "max_minutes"):
        if not 0 < cfg[key] < math.inf:
            raise ConfigError(f"{key} must be above 0 and finite; got {cfg[key]}")
    if not 0 <= cfg.port <= 65535:
        raise ConfigError(f"port must be 0 to 65535; got {cfg.port}")
    try:
        listener = socket.create_server(("127.0.0.1", cfg.port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"port={cfg.port}: {reason}; choose another one, or port=0 for any free one") from error
    from uvicorn import Config, Server

    from cpnet.actions.answers import choose_model
    from cpnet.page.app import create_app

    grounder = choose_model(cfg)
    limits = {"top": cfg.top, "max_bytes": round(cfg.max_mb * 1e6), "max_sec": 60 * cfg.max_minutes}
    app = create_app(grounder, cfg.zero_shot or str(grounder.path), **limits)
    log.info("open http://127.0.0.1:%d in a browser; Ctrl+C stops the server", listener.getsockname()[1])
    server = Server(Config(app, log_config=None, log_level="warning", server_header=False, timeout_graceful_shutdown=3))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


if __name__ == "__main__":
    command.run(main, config_name="demo")
