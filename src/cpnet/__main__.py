"""``python -m cpnet COMMAND ...`` runs ``python -m cpnet.COMMAND ...``."""

from __future__ import annotations

import runpy
import sys

COMMANDS = {
    "train": "train a model, choose its best epoch, and evaluate it on the test split",
    "evaluate": "evaluate a checkpoint again",
    "demo": "serve a page for the browser: a video, a sentence, the moment",
    "predict": "find the moments of a video that sentences describe",
    "export": "write a model that runs without cpnet, in ONNX or for torch",
    "prepare": "inspect, pack, generate or extract video features",
    "search": "find a sentence in many videos",
    "score": "score predictions of any system",
    "report": "compare runs in tables and figures",
    "dashboard": "save dashboards of the runs in W&B",
}


def usage() -> str:
    """Return the list of the commands."""
    lines = [f"  {name:<10} {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: python -m cpnet COMMAND [overrides]", *lines, "Keys of a command: COMMAND --help", ""])


def main() -> None:
    """Run the command that the command line names, or list the commands."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        sys.stdout.write(usage())
        return
    if name not in COMMANDS:
        sys.stderr.write(f"cpnet: there is no command {name!r}\n\n{usage()}")
        raise SystemExit(2)
    del sys.argv[1]
    runpy.run_module(f"cpnet.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
