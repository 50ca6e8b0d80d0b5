"""Vectors of words from their characters: the same for a word by itself."""

import pytest
import torch

from gatewise.nn.spellings import Spellings


def make(how, seed):
    torch.manual_seed(seed)
    reader = Spellings(how, 9, 4, 6)
    if how == "bilstm":
        reader.recurrent.engine = "loop"  # the native one would have to be compiled
    return reader


@torch.no_grad()
@pytest.mark.parametrize("how", ["cnn", "bilstm"])
def test_a_word_is_read_as_by_itself(how):
    reader = make(how, 0)
    spellings, lengths = torch.randint(1, 9, (5, 7)), torch.tensor([7, 1, 3, 2, 6])
    spellings = spellings.masked_fill(torch.arange(7) >= lengths[:, None], 0)
    together = reader(spellings, lengths)
    assert together.shape == (5, reader.output_size)
    for row, length in enumerate(lengths.tolist()):
        alone = reader(spellings[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)
    # What a word is read as depends on the order of its characters.
    turned = reader(spellings[:1].flip(1), lengths[:1])
    assert not torch.allclose(turned, together[:1], atol=1e-3)


@torch.no_grad()
def test_filters_are_those_of_a_plain_convolution():
    reader = make("cnn", 1)
    word = torch.tensor([[3, 5, 8, 2]])
    vectors = torch.cat([torch.zeros(1, 4), reader.embedding(word)[0], torch.zeros(1, 4)])
    windows = torch.stack([vectors[i : i + 3].T for i in range(4)])  # [T, E, 3]
    found = torch.einsum("tek,oek->to", windows, reader.filters.weight) + reader.filters.bias
    torch.testing.assert_close(reader(word, torch.tensor([4]))[0], found.amax(0))


@torch.no_grad()
def test_both_directions_end_with_the_whole_word():
    reader = make("bilstm", 2)
    word, lengths = torch.tensor([[3, 5, 8, 2]]), torch.tensor([4])
    outputs, _ = reader.recurrent(reader.embedding(word), lengths=lengths)
    torch.testing.assert_close(reader(word, lengths)[0], torch.cat([outputs[0, -1, :6], outputs[0, 0, 6:]]))
