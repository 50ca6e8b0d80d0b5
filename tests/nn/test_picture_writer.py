"""A writer about pictures: its grid, what it attends to, and its search against known captions."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from gatewise.cells import GRU
from gatewise.nn import Recurrent
from gatewise.nn.picture_writer import PictureEncoder, PictureWriter

START, END = 1, 2


def made(sizes=(8, 6), projected=False, **settings):
    torch.manual_seed(2)
    model = partial(Recurrent, hidden_size=6, cell=GRU(), engine="function")
    net = PictureWriter(
        model, PictureEncoder(3, 9, 12, sizes, projected), [0.2] * 5, True, embedding_size=5, **settings
    )
    with torch.no_grad():  # scores far apart
        net.target_embedding.weight.mul_(40)
    return net.eval()


PICTURES = torch.randn(4, 3, 9, 12, generator=torch.Generator().manual_seed(1))


def test_every_convolution_halves_height_and_width():
    encoder = PictureEncoder(3, 9, 12, (8, 6))
    assert encoder.grid == (3, 3)
    vectors = encoder(PICTURES)
    assert vectors.shape == (4, 9, 6)
    # Row by row: what is learnt of a column is in every third place.
    with torch.no_grad():
        encoder.column[:, 0, 1] += 100
    assert ((encoder(PICTURES) - vectors).abs().amax((0, 2)) > 50).tolist() == [False, True, False] * 3


def test_maps_are_projected_place_by_place():
    encoder = PictureEncoder(3, 9, 12, (8, 6), projected=True)
    assert encoder.grid == (9, 12)
    changed = PICTURES.clone()
    changed[:, :, 4, 7] += 1
    moved = (encoder(changed) - encoder(PICTURES)).abs().amax((0, 2))
    assert moved.nonzero().flatten().tolist() == [4 * 12 + 7]


@pytest.mark.parametrize("context", ["layers", "input", "output"])
def test_a_search_ranks_by_the_scores_of_known_captions(context):
    net = made(context=context, decoder_layers=2)
    limits = torch.tensor([6, 5, 1, 4])
    found = net.search(PICTURES, limits, START, END, width=4, best=3, keep_weights=True)
    assert found.weights.shape[-1] == 9
    for row in range(4):
        for rank in range(3):
            count = int(found.lengths[row, rank])
            if count == 0:
                continue
            known = torch.cat([torch.tensor([START]), found.tokens[row, rank, :count]])[None]
            outputs, weights = net(PICTURES[row : row + 1], known[:, :-1])
            _, likelihood = net.loss(outputs, known[:, 1:], torch.tensor([count]))
            torch.testing.assert_close(-likelihood, found.log_probabilities[row, rank], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(weights[0], found.weights[row, rank, :count], rtol=1e-3, atol=1e-5)


def test_layers_are_the_models_and_two_for_contexts_of_layers():
    for context, layers in (("layers", 2), ("output", 1)):
        decoder = made(context=context).decoder
        uppers = [] if decoder.upper is None else [decoder.upper]
        assert sum(part.num_layers for part in (decoder.lower, *uppers)) == layers
