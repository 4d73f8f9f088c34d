"""``python -m cpnet.export checkpoint=PATH [format=onnx|torch_export] [output=FOLDER]``: answers without cpnet.

The folder has the model, its words and sampling policy, and an example that needs NumPy and onnxruntime alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command


def main(cfg: DictConfig) -> None:
    """Check the format and its packages, and write the folder ``cfg.output``.

    Raises:
        ConfigError: the format is unknown, its packages are missing, or the folder cannot be written
    """
    if cfg.format not in ("onnx", "torch_export"):
        raise ConfigError(f"format must be one of onnx, torch_export; got {cfg.format!r}")
    if cfg.format == "onnx" and not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise ConfigError("format=onnx needs pip install 'cpnet-grounding[export]'; format=torch_export does not")
    from cpnet.exporting import folder
    from cpnet.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(cfg.checkpoint)
    try:
        folder.export(checkpoint, Path(cfg.output).expanduser(), cfg.format)
    except OSError as error:
        where = error.filename or cfg.output
        raise ConfigError(f"{where}: {error.strerror}; choose another folder: output=FOLDER") from error


if __name__ == "__main__":
    command.run(main, config_name="export")
