"""``python -m cpnet.export checkpoint=PATH [format=onnx|torch_export] [output=FOLDER]``: answers without cpnet.

The folder has the model, its words and sampling policy, and an example that needs NumPy and onnxruntime alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command

NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch_export": ()}  # packages of each format


def main(cfg: DictConfig) -> None:
    """Check the format and its packages, and write the folder ``cfg.output``.

    Raises:
        ConfigError: the format is unknown, its packages are missing, the folder exists, or the model cannot be exported
        DataError: the file is not a checkpoint, or the written model differs from it
    """
    if cfg.format not in NEEDED:
        raise ConfigError(f"format must be one of {', '.join(NEEDED)}; got {cfg.format!r}")
    if missing := [name for name in NEEDED[cfg.format] if find_spec(name) is None]:
        install = "pip install 'cpnet-grounding[export]', or set format=torch_export"
        raise ConfigError(f"format={cfg.format} needs {', '.join(missing)}: {install}")
    from cpnet.exporting import folder
    from cpnet.runs.checkpoint import load_checkpoint

    folder.export(load_checkpoint(cfg.checkpoint), Path(cfg.output).expanduser(), cfg.format)


if __name__ == "__main__":
    command.run(main, config_name="export")
