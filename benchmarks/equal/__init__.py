"""A module a model: its own code and ours with the same weights and inputs."""

from collections.abc import Iterator


def recurrent_names(name: str, *, layers: int, bias: bool = True) -> Iterator[tuple[str, str]]:
    """Yield each weight's name in ``Bidirectional`` and in torch's own layer."""
    for layer in range(layers):
        for kind in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if bias else ())):
            for direction, end in (("ahead", ""), ("back", "_reverse")):
                yield f"{name}.{direction}.{layer}.{kind}_l0", f"{kind}_l{layer}{end}"
