"""The network of my-model. Every command that uses the model is given this file: --plugin THIS_FILE.

The authors' code may lie in this folder, in modules and packages of any name, and be imported here: see `Network`.
"""

from typing import Any

from torch import Tensor, nn

from models.architectures import register_network


class Network(nn.Module):
    """A STAND-IN. Import the authors' network instead; where it is called otherwise, derive from it:

        from models.dit import DiT

        class Network(DiT):
            def forward(self, x, condition, labels=None):
                return super().forward(x, t=condition, y=labels)

    Deriving keeps the names of the weights; a module around it would change them.

    With network = "edm" on the card this is the inner F of EDM's preconditioning, and the preconditioning is ours. A
    module that returns the denoised image itself, from x and sigma as EDMPrecond, goes with network = "sigma" and
    parametrisation = "sample".
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(1, width)
        self.into = nn.Conv2d(channels, width, 3, padding=1)
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the card's parametrisation says, (N, C, H, W) as x.

        Args:
            x: noisy images (N, C, H, W).
            condition: (N,), what the card's network says; of a discrete schedule also between two indices.
            labels: (N,) int64, of a card with classes.
        """
        hidden = self.into(x) + self.time(condition[:, None])[:, :, None, None]
        output: Tensor = self.out(hidden.relu())
        return output


@register_network("my-model")
def build(config: dict[str, Any]) -> nn.Module:
    """The network, with any weights: those of the card are loaded into it.

    Args:
        config: the content of config.json; empty if the card lists none.
    """
    return Network(channels=3, width=64)
