"""Content of offline runs, read by W&B's own reader, and an environment that records every network request."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OfflineRun:
    """Content of a run; mappings have the keys or names under which the values were logged."""

    start: Mapping[str, Any]  # name, group, tags, project and the like
    config: Mapping[str, Any]
    history: list[Mapping[str, Any]]
    summary: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    exit_code: int
    preempted: bool
    pictures: Mapping[str, Path]
    tables: Mapping[str, Any]


def read(folder: Path) -> OfflineRun:
    """Read the only run below ``wandb/`` of a job's folder."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    quiet = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]

    def of(kind: str) -> list[Any]:
        return [record[kind] for record in records if record["type"] == kind]

    config, summary = ({k: v for each in of(kind) for k, v in each["update"].items()} for kind in ("config", "summary"))
    media = run / "files" / "media"
    return OfflineRun(
        start=of("run")[0],
        config=config,
        history=[each["item"] for each in of("history")],
        summary=summary,
        artifacts={each["name"]: each for each in of("artifact")},
        exit_code=of("exit")[0].get("exit_code", 0),
        preempted=any(record["type"] == "preempting" for record in records),
        pictures={path.name.rsplit("_", 2)[0]: path for path in (media / "images").glob("*.png")},
        tables={path.name.rsplit("_", 2)[0]: json.loads(path.read_text()) for path in (media / "table").glob("*.json")},
    )


@contextmanager
def guarded_environment(folder: Path) -> Iterator[tuple[dict[str, str], list[bytes]]]:
    """Yield environment variables of a user without an account, and the requests to a proxy that answers none."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return  # closed
                with caller:
                    requests.append(caller.recv(100))

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        own = {f"WANDB_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "CACHE")}
        quiet = {"WANDB_SILENT": "true", "NETRC": str(folder / "netrc"), "NO_PROXY": "", "no_proxy": ""}
        yield dict.fromkeys(names, address) | own | quiet, requests
        server.shutdown(socket.SHUT_RDWR)
