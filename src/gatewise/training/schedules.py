"""Learning-rate schedules that torch does not have."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gatewise.settings import Count, Fraction, checked


class DecayAfter(LRScheduler):
    """The learning rate stays for ``epochs``, and is multiplied with ``gamma`` before every epoch after them.

    Zaremba, Sutskever & Vinyals, "Recurrent Neural Network Regularization", arXiv 1409.2329, 2014.
    """

    @checked
    def __init__(self, optimizer: Optimizer, epochs: Count = 4, gamma: Fraction = 0.5) -> None:
        self.epochs, self.gamma = epochs, gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the epoch that begins."""
        decays = max(self.last_epoch + 1 - self.epochs, 0)
        return [rate * self.gamma**decays for rate in self.base_lrs]
