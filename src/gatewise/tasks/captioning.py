"""Captioning: a sentence about a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.kinds.captions import CaptionBatch, CaptionFacts, References
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.parallel_text import END_ID, START_ID
from gatewise.kinds.scenes import is_true
from gatewise.nn.attention import Memory
from gatewise.nn.picture_writer import PictureEncoder, PictureWriter
from gatewise.settings import Positive, Sizes
from gatewise.tasks import bleu, followed
from gatewise.tasks.answer import Answer
from gatewise.tasks.captioned import Captioned, parts
from gatewise.tasks.cider import Cider
from gatewise.tasks.inspected import Choice
from gatewise.tasks.scores import EpochScores, Measure, Score
from gatewise.tasks.summed import SummedCounts
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler
from gatewise.tasks.writing import DRAWN, Writing

CIDER, TRUE = bleu.COLUMNS, bleu.COLUMNS + 2
"""Where the counts of CIDEr, and those of what is true, begin."""
FINE = 10**9
"""A score of CIDEr is counted in such parts of 1, so that sums are exact in any order."""


class Captioning(Writing):
    """Reads a picture and writes a sentence about it, attending to places (:class:`PictureWriter`).

    Pixels are read by convolutions of ``encoder_sizes`` channels, each of which halves height and width; of
    maps that another network has made only the last size counts, to which they are projected. ``model`` makes
    the layers of the decoder. A caption has at most ``max_length`` tokens, or else as many as the longest of
    training. The other settings are those of :class:`Writing`.

    Captions are scored by BLEU, chrF and CIDEr-D against all references of a picture; the loss is that of the
    first. Where the pictures are made scenes, the share of captions is reported that are ``true`` of their
    scene, whatever the references say; in a test apart for scenes whose combinations of colour and shape
    training has seen, and for those that it has not.
    """

    facts_type = CaptionFacts
    measured = ("perplexity", "bleu", "bleu_lower", "chrf", "cider", "true", "true_seen", "true_unseen")
    answer_settings = ("beam", "best", "length_penalty", "coverage_penalty", "max_length")
    has_encoder = False
    picture = "caption_attention"
    columns = ("picture", "caption", "reference")
    written_are = "captions"
    net: PictureWriter
    mean: Tensor
    """[C, 1, 1]"""
    std: Tensor

    def __init__(
        self,
        model: MakeModel,
        facts: CaptionFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/cider",
        mode: Literal["min", "max"] = "max",
        encoder_sizes: Sizes = (32, 64, 128),
        tie_embeddings: bool = True,
        max_length: Positive | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode, **settings)
        sizes = (encoder_sizes,) if isinstance(encoder_sizes, int) else tuple(encoder_sizes)
        self.net = PictureWriter(
            model,
            PictureEncoder(facts.channels, facts.height, facts.width, sizes, facts.form == "maps"),
            self.frequencies(facts.counts),
            tie_embeddings,
            **self.decoding,
        )
        self.scores_per_step = self.net.target_embedding.embedding_dim
        self.max_length = max_length
        for name in ("mean", "std"):
            numbers = torch.tensor(getattr(facts, name), dtype=torch.get_default_dtype())
            self.register_buffer(name, numbers[:, None, None], persistent=False)
        self._cider: tuple[References | None, Cider | None] = (None, None)

    @classmethod
    def sizes(
        cls,
        facts: CaptionFacts,
        settings: Mapping[str, Any],  # noqa: ARG003
    ) -> Mapping[str, tuple[str, int, int]]:
        return {
            "vocabulary": ("net.target_embedding.weight", 0, len(facts.vocabulary)),
            "channels": ("net.encoder.layers.0.weight", 1, facts.channels),
        }

    def metrics(self) -> Mapping[str, Measure]:
        found = {
            **bleu.measures(),
            "cider": Measure(
                "CIDEr-D: how far the caption says what the references say, and those of few other pictures, "
                "from 0 to 10 and mostly below 2; higher is better",
                SummedCounts(CIDER, CIDER + 2, lambda sums: sums[0] / FINE / max(sums[1], 1)),
            ),
            **super().metrics(),
        }
        if self.facts.scenes:
            said = "percent of captions that are true of their scene"
            found |= {
                "true": Measure(f"{said}; higher is better", SummedCounts(TRUE, TRUE + 4, _share)),
                "true_seen": Measure(
                    f"{said}, where training has seen each colour of each shape; higher is better",
                    SummedCounts(TRUE, TRUE + 2, _share),
                    of_tests=True,
                ),
                "true_unseen": Measure(
                    f"{said}, where training has seen no thing of that colour and shape; higher is better",
                    SummedCounts(TRUE + 2, TRUE + 4, _share),
                    of_tests=True,
                ),
            }
        return found

    def _reduced(self, prefix: str, scores: EpochScores) -> dict[str, Tensor]:
        found = super()._reduced(prefix, scores)
        # A part without scenes of a kind has no share of them.
        return {name: value for name, value in found.items() if "/true" not in name or not value.isnan()}

    def scaled(self, pictures: Tensor) -> Tensor:
        """Pictures as the encoder reads them."""
        return (pictures.to(self.mean.dtype) - self.mean) / self.std

    def outputs(self, batch: CaptionBatch) -> Tensor:
        outputs: Tensor
        known = batch.target[:, :-1]
        outputs, _ = self.net(self.scaled(batch.pictures), known, batch.target_lengths - 1)
        return outputs

    def counts(self, texts: Sequence[str], batch: CaptionBatch) -> Tensor:
        assert batch.references is not None
        rows = torch.zeros(len(texts), TRUE + 4, dtype=torch.int64)
        rows[:, :CIDER] = bleu.statistics(texts, batch.references)
        scores = self._scorer(batch.all_references).scores(texts, batch.references)
        rows[:, CIDER] = (torch.tensor(scores, dtype=torch.float64) * FINE).round().long()
        rows[:, CIDER + 1] = 1
        if batch.scenes is not None and batch.unseen is not None:
            scenes = batch.scenes.tolist()
            right = torch.tensor([is_true(text, scene) for text, scene in zip(texts, scenes, strict=True)])
            unseen = batch.unseen.cpu()
            for first, group in ((TRUE, ~unseen), (TRUE + 2, unseen)):
                rows[:, first], rows[:, first + 1] = right & group, group
        return rows.to(batch.target.device)

    def _scorer(self, references: References | None) -> Cider:
        """What scores the captions of a part."""
        assert references is not None
        part, scorer = self._cider
        if scorer is None or part is not references:
            scorer = Cider(references.captions)
            self._cider = references, scorer
        return scorer

    def baselines(self, batch: CaptionBatch) -> Mapping[str, Score]:
        scores = dict(super().baselines(batch))
        if batch.references is not None:
            most_frequent = [self.facts.most_frequent] * len(batch.references)
            scores["most_frequent"] = self.of_texts(most_frequent, batch)
            if batch.nearest is not None:
                scores["nearest_picture"] = self.of_texts(batch.nearest, batch)
        return scores

    def written(self, batch: CaptionBatch, width: int, best: int) -> Captioned:
        """The ``best`` captions of a batch's pictures."""
        found = self.net.search(
            self.scaled(batch.pictures),
            torch.full_like(batch.indices, self.max_length or self.facts.longest),
            START_ID,
            END_ID,
            width,
            best,
            self.length_penalty,
            self.coverage_penalty,
            keep_weights=True,
        )
        return Captioned(self.facts, batch, found, self.net.encoder.grid)

    def answer(self, given: Input) -> Answer:
        """The caption of each picture, with ``best`` above 1 several of each, ranked by score."""
        batch: CaptionBatch = given.batch
        rows: list[dict[str, Any]] = []
        drawn: list[dict[str, Any]] = []
        for part in parts(batch):
            captioned = self.written(part, self.beam, self.best)
            captioned.check()
            rows += captioned.rows()
            drawn += captioned.first(DRAWN).values()
        table = pd.DataFrame(rows)
        several = len(batch.indices) > 1
        leave_out = [*([] if several else ["picture"]), *([] if self.best > 1 else ["rank"])]
        return Answer(
            table.drop(columns=leave_out),
            f"captions of {given.name}" if several or self.best > 1 else f"caption of {given.name}",
            {"score": "{:.3f}", "log_probability": "{:.3f}"},
            ("log_probability",),
            picture=(self.picture, drawn),
        )

    def inspected(self, given: Input) -> Choice:
        """The next token of the caption after each: of the known one, or of the one that is written.

        What is looked at is the decoder's first layer, which begins with what was seen of the picture. Raises
        ValueError where that layer reads the decoder's outputs.
        """
        batch: CaptionBatch = given.batch
        if self.net.decoder.context == "input":
            raise ValueError(
                "task.context=input: this captioner cannot be inspected, as its decoder reads its own outputs"
            )
        target, lengths = batch.target[:, 1:], batch.target_lengths - 1
        truth = torch.where(torch.arange(target.shape[1]) < lengths[0], target[0], IGNORED)
        said = "the first of those that are known"
        if batch.references is None:
            captioned = self.written(batch, self.beam, 1)
            captioned.check()
            target, lengths = captioned.found.tokens[:, 0], captioned.found.lengths[:, 0]
            truth = torch.full_like(target[0], IGNORED)
            said = f"the one that beam search of width {self.beam} finds"
        known = F.pad(target[:, :-1], (1, 0), value=START_ID)
        memory, state = self.net.encode(self.scaled(batch.pictures))
        vocabulary = self.facts.vocabulary
        tokens = zip(known.tolist(), lengths.tolist(), strict=True)
        names = [[vocabulary[token] for token in row[:length]] for row, length in tokens]

        def scores(outputs: Tensor) -> Tensor:
            # The rows are the first sequence in several forms.
            seen = [part[:1].expand(len(outputs), *part.shape[1:]) for part in (*memory, *state)]
            read = self.net.decoder.read(outputs, Memory(*seen[: len(memory)]), tuple(seen[len(memory) :]))
            found: Tensor = self.net.head(read)
            return found

        return Choice(
            encoder=self.net.decoder.lower,
            inputs=self.net.target_embedding(known),
            lengths=lengths,
            step="token",
            names=names,
            title="next token of the caption",
            read=lambda outputs, _, ends: scores(outputs)[torch.arange(len(outputs)), ends - 1],
            read_all=scores,
            features=followed.of_tokens(names, vocabulary, self.facts.counts),
            choices=vocabulary,
            truth=truth,
            remarks=[
                f"The caption is {said}. Its tokens are read by the decoder's first layer, which begins with "
                f"what was seen of the picture; the answers also depend on the places that are attended to."
            ],
            at_every_step=True,
            start=self.net.decoder.first_state(state),
        )


def _share(sums: list[int]) -> float:
    """Percent of true ones, for pairs of (how many are true, how many there are); NaN of none."""
    count = sum(sums[1::2])
    return 100 * sum(sums[::2]) / count if count else float("nan")
