"""The order in which a forward pass runs the layers, and which of them are connected by skips.

Without recurrence the first half of the layers feeds skips to the second. With it a segment of layers is run several
times, and the halves are those of the longer order (docs/recipe.md 2.8).
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.spec import recipe


@dataclass(frozen=True)
class LayerOrder:
    """Layers to visit; the output of each encoder layer is kept for a decoder layer, last in, first out."""

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]

    @property
    def num_skips(self) -> int:
        return min(len(self.encoder), len(self.decoder))


def layer_order(model: recipe.Model, looped: bool) -> LayerOrder:
    """The order of the recipe's layers, with the recurrent ones repeated or not."""
    first, last = model.recur_first, model.recur_last
    layers = list(range(model.num_layers))
    if looped and model.recur_loops:
        layers = layers[:first] + layers[first : last + 1] * (model.recur_loops + 1) + layers[last + 1 :]
    half = len(layers) // 2
    return LayerOrder(tuple(layers[:half]), tuple(layers[half:]))
