"""The conditional random field against the enumeration of all sequences, its gradients, and padding."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.export import Dim

from gatewise.kinds.tag_schemes import all_tags, allowed, count_illegal, span_tags
from gatewise.nn.crf import CRF

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 4))


def make(tags, seed, rules=()):
    torch.manual_seed(seed)
    crf = CRF(tags, *rules).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def enumerated(crf, emissions, length):
    """{tags: score} of every allowed sequence, for the emissions [T, K] of one sequence."""
    found = {}
    steps = range(len(crf.start))
    for tags in itertools.product(steps, repeat=length):
        pairs = list(itertools.pairwise(tags))
        if not (crf.first[tags[0]] and crf.last[tags[-1]] and all(crf.after[a, b] for a, b in pairs)):
            continue
        score = crf.start[tags[0]] + crf.end[tags[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(tags))
        found[tags] = float(score + sum(crf.transition[a, b] for a, b in pairs))
    return found


def example(shape, seed):
    batch, time, tags = shape
    generator = torch.Generator().manual_seed(seed)
    emissions = 3 * torch.randn(batch, time, tags, generator=generator, dtype=torch.float64)
    return emissions, torch.randint(1, time + 1, (batch,), generator=generator)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 1000), st.booleans())
@torch.no_grad()
def test_it_is_the_enumeration_of_all_sequences(shape, seed, ruled):
    emissions, lengths = example(shape, seed)
    tags = shape[2]
    rules = ()
    if ruled:
        after = torch.rand(tags, tags, generator=torch.Generator().manual_seed(seed)) < 0.6
        after[0] = after[:, 0] = True  # so that some sequence of every length is allowed
        rules = (torch.arange(tags) != 1, after, torch.arange(tags) != tags - 1)
    crf = make(tags, seed, rules)
    partition = crf.log_partition(emissions, lengths)
    decoded = crf.decode(emissions, lengths)
    marginals = crf.marginals(emissions, lengths)
    for row, length in enumerate(lengths.tolist()):
        scores = enumerated(crf, emissions[row], length)
        total = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0)
        torch.testing.assert_close(partition[row], total)
        best = max(scores, key=scores.get)
        assert tuple(decoded[row, :length].tolist()) == best
        assert decoded[row, length:].tolist() == [0] * (shape[1] - length)
        expected = torch.zeros(shape[1], tags, dtype=torch.float64)
        for sequence, score in scores.items():
            expected[range(length), sequence] += (score - total).exp()
        torch.testing.assert_close(marginals[row], expected)
        given_tags = torch.zeros(1, shape[1], dtype=torch.int64)
        given_tags[0, :length] = torch.tensor(best)
        given_tags[0, length:] = -100
        probability = crf(emissions[row : row + 1], given_tags, lengths[row : row + 1])
        torch.testing.assert_close(probability[0], scores[best] - total)


def test_gradients():
    crf = make(3, 0, (torch.tensor([True, False, True]), None, None))
    emissions, lengths = example((3, 4, 3), 1)
    tags = torch.tensor([[0, 1, 2, 2]] * 3)

    def probability(emissions, *parameters):
        names = dict(zip(("start", "transition", "end"), parameters, strict=True))
        return torch.func.functional_call(crf, names, (emissions, tags, lengths))

    inputs = (emissions.requires_grad_(), *(p.detach().requires_grad_() for p in crf.parameters()))
    assert torch.autograd.gradcheck(probability, inputs)
    # The gradient of the partition by the emissions is the probability of each tag at each step.
    (slope,) = torch.autograd.grad(crf.log_partition(emissions, lengths).sum(), emissions)
    torch.testing.assert_close(slope, crf.marginals(emissions, lengths))


@torch.no_grad()
def test_padding_changes_nothing():
    crf = make(4, 2).float()
    emissions, lengths = (tensor.float() if tensor.is_floating_point() else tensor for tensor in
                          example((5, 6, 4), 3))  # fmt: skip
    tags = torch.randint(0, 4, (5, 6))
    together = (crf(emissions, tags, lengths), crf.decode(emissions, lengths))
    for row, length in enumerate(lengths.tolist()):
        alone = (emissions[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(
            crf(alone[0], tags[row : row + 1, :length], alone[1]), together[0][row : row + 1]
        )
        assert crf.decode(*alone)[0].tolist() == together[1][row, :length].tolist()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["iob2", "iobes"]), st.integers(0, 1000))
@torch.no_grad()
def test_what_is_decoded_is_in_the_scheme(scheme, seed):
    tags = span_tags(all_tags(["a", "b"], scheme))
    rules = allowed(tags, scheme)
    crf = make(len(tags.prefixes), seed, map(torch.from_numpy, rules))
    emissions, lengths = example((4, 9, len(tags.prefixes)), seed)
    decoded = crf.decode(100 * emissions, lengths)
    for row, length in zip(decoded, lengths.tolist(), strict=True):
        begins = torch.arange(length) == 0
        assert count_illegal(row[:length].numpy(), begins.numpy(), rules) == 0
        assert bool(crf.marginals(emissions, lengths).isfinite().all())


def test_scores_far_apart_lose_nothing():
    """Of 32-bit numbers, where exp of these would be 0 or infinite."""
    crf = CRF(2)
    emissions = torch.tensor([[[500.0, -500.0], [-500.0, 500.0], [0.0, 1.0]]], requires_grad=True)
    lengths = torch.tensor([3])
    loss = -crf(emissions, torch.tensor([[0, 1, 1]]), lengths).sum()
    assert float(loss.detach()) == pytest.approx(0.3132617, abs=1e-4)  # log(1 + 1/e)
    loss.backward()
    assert bool(emissions.grad.isfinite().all())


class Decoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.crf = make(3, 5).float()

    def forward(self, emissions, lengths):
        return self.crf.decode(emissions, lengths)


def test_it_can_be_exported():
    decoder = Decoder()
    emissions, lengths = torch.randn(4, 5, 3), torch.tensor([5, 2, 1, 4])
    program = torch.export.export(
        decoder, (emissions, lengths), dynamic_shapes=({0: Dim("batch")}, {0: Dim("batch")})
    )
    other, shorter = torch.randn(7, 5, 3), torch.tensor([1, 2, 3, 4, 5, 1, 2])
    assert torch.equal(program.module()(other, shorter), decoder(other, shorter))
