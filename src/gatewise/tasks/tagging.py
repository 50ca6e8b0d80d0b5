"""Tagging: a tag for every word of a sentence, such as names of persons and places, or parts of speech."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.tag_schemes import TagScheme, all_tags, span_tags
from gatewise.kinds.tagged_text import TaggedTextBatch, TaggedTextFacts
from gatewise.kinds.tokens import UNKNOWN
from gatewise.nn.crf import CRF
from gatewise.nn.embedding import made_embedding
from gatewise.nn.locked import LockedDropout
from gatewise.nn.spellings import Spellings
from gatewise.settings import Folders, Positive, Probability, rule
from gatewise.tasks import followed
from gatewise.tasks.answer import Answer, Line
from gatewise.tasks.inspected import Choice
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.span_scores import SpanCounts, SpanScore, SurfaceScore, What, scores
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task
from gatewise.tasks.word_vectors import check_frozen_vectors, start_from

SURFACE = "surface_f1"
_MEANINGS = {
    "f1": "harmonic mean of precision and recall of whole spans, as conlleval counts; higher is better",
    "precision": "share of the predicted spans that are right; higher is better",
    "recall": "share of the true spans that were found; higher is better",
    SURFACE: "F1 of different spans by their words and class, each once; higher is better",
}
CHUNK = 256
"""Sentences that are predicted for at once."""


@rule
def check_frozen(vectors: str | None, freeze_embeddings: bool) -> None:
    """Raise ValueError for embeddings that nothing has trained and nothing trains."""
    check_frozen_vectors(vectors, freeze_embeddings)


class Tagging(Task):
    """Reads a sentence word by word and predicts the tag of each word.

    The embedding of a word and, with ``characters``, a vector from its spelling (see
    :class:`gatewise.nn.spellings.Spellings`) go through the encoder, and a linear layer scores the tags.
    With ``crf`` the best sequence of tags is predicted (see :class:`gatewise.nn.crf.CRF`), of those that the
    tags' scheme allows; without it the best tag of each word.

    In training, a word that occurs once in the training text is read as ``<unk>`` with the probability
    ``singleton_dropout``, so that this has a meaning (Lample et al., "Neural Architectures for Named Entity
    Recognition", NAACL 2016), and any word with ``word_dropout``; its spelling is read all the same.
    ``embedding_dropout`` and ``dropout`` drop features of what goes into the encoder and comes out of it,
    each for all words of a sentence (locked dropout).

    ``loss`` is per word, in nats: with ``crf`` that of the whole sequence, shared by its words. ``vectors``
    is a text file of GloVe's or word2vec's from which the embeddings start, and stay there with
    ``freeze_embeddings``; words it lacks start at random.
    """

    facts_type = TaggedTextFacts
    tags_words = True
    measured = ("accuracy", "f1", "precision", "recall", SURFACE)
    is_singleton: Tensor
    """[V]: whether a word occurs once in training."""

    def __init__(
        self,
        model: MakeModel,
        facts: TaggedTextFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/f1",
        mode: Literal["min", "max"] = "max",
        embedding_size: Positive = 100,
        characters: Literal["none", "cnn", "bilstm"] = "cnn",
        character_size: Positive = 25,
        spelling_size: Positive = 50,
        crf: bool = True,
        singleton_dropout: Probability = 0.5,
        word_dropout: Probability = 0.0,
        embedding_dropout: Probability = 0.0,
        dropout: Probability = 0.0,
        vectors: str | None = None,
        freeze_embeddings: bool = False,
        folders: Folders = (),
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.singleton_dropout, self.word_dropout = singleton_dropout, word_dropout
        self.embedding = made_embedding(len(facts.vocabulary), embedding_size)
        if vectors is not None and optimizer is not None:  # a prediction has them in its checkpoint
            start_from(vectors, self.embedding, facts.vocabulary, folders)
        self.embedding.weight.requires_grad_(not freeze_embeddings)
        self.spellings: Spellings | None = None
        if characters != "none":
            self.spellings = Spellings(characters, len(facts.characters), character_size, spelling_size)
        input_size = embedding_size + (0 if self.spellings is None else self.spellings.output_size)
        self.encoder = model(input_size=input_size, batch_first=True)
        self.embedding_dropout, self.dropout = LockedDropout(embedding_dropout), LockedDropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, len(facts.tags))
        self.crf: CRF | None = None
        if crf:
            self.crf = CRF(len(facts.tags), *map(torch.from_numpy, facts.allowed or ()))
        self.scores_per_step = len(facts.tags)
        self.majority = max(range(len(facts.tags)), key=lambda tag: facts.tag_counts[tag])
        self.register_buffer("is_singleton", torch.tensor(facts.counts) == 1, persistent=False)
        self._surface: dict[str, SurfaceScore] = {}
        self._by_class = None if facts.spans is None else SpanCounts(facts.spans)
        self._counts: list[list[int]] = []

    @classmethod
    def sizes(cls, facts: TaggedTextFacts, settings: Mapping[str, Any]) -> Mapping[str, tuple[str, int, int]]:  # noqa: ARG003
        return {
            "tags": ("head.weight", 0, len(facts.tags)),
            "vocabulary": ("embedding.weight", 0, len(facts.vocabulary)),
            "characters": ("spellings.embedding.weight", 0, len(facts.characters)),
        }

    def metrics(self) -> Mapping[str, Measure]:
        n_tags, spans = len(self.facts.tags), self.facts.spans
        accuracy = MulticlassAccuracy(n_tags, average="micro", ignore_index=IGNORED, validate_args=False)
        measures = {"accuracy": Measure("share of words tagged correctly; higher is better", accuracy)}
        if spans is not None:
            names: tuple[What, ...] = ("f1", "precision", "recall")
            measures |= {name: Measure(_MEANINGS[name], SpanScore(spans, name)) for name in names}
        return measures

    def meanings(self) -> dict[str, str]:
        return {**super().meanings(), SURFACE: _MEANINGS[SURFACE]}

    def forward(
        self, words: Tensor, lengths: Tensor, spelled: Tensor, spellings: Tensor, spelling_lengths: Tensor
    ) -> Tensor:
        """Scores [B, T, K] of each tag for each word, for the fields of a batch of these names."""
        return self.read(self.embedded(words, spelled, spellings, spelling_lengths), lengths)

    def embedded(self, words: Tensor, spelled: Tensor, spellings: Tensor, spelling_lengths: Tensor) -> Tensor:
        """What stands for each word, [B, T, E]: its embedding and what its spelling says."""
        vectors: Tensor = self.embedding(self._dropped(words))
        if self.spellings is None:
            return vectors
        return torch.cat([vectors, self.spellings(spellings, spelling_lengths)[spelled]], -1)

    def _dropped(self, words: Tensor) -> Tensor:
        """Word ids, in training some of them as ``<unk>``."""
        if not self.training:
            return words
        p = torch.full_like(words, 0, dtype=torch.float32).add_(self.word_dropout)
        p = torch.where(self.is_singleton[words], max(self.singleton_dropout, self.word_dropout), p)
        return words.masked_fill(torch.rand_like(p) < p, 0)

    def read(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Scores [B, T, K] of each tag, from vectors [B, T, E] of words."""
        outputs, _ = self.encoder(self.embedding_dropout(vectors), lengths=lengths)
        scores: Tensor = self.head(self.dropout(outputs))
        return scores

    def emissions(self, batch: TaggedTextBatch) -> Tensor:
        """Scores [B, T, K] of each tag for each word of a batch."""
        emissions: Tensor = self(
            batch.words, batch.lengths, batch.spelled, batch.spellings, batch.spelling_lengths
        )
        return emissions

    def decoded(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The tags [B, T] that are predicted from emissions [B, T, K]."""
        return emissions.argmax(-1) if self.crf is None else self.crf.decode(emissions, lengths)

    def score(self, batch: TaggedTextBatch) -> Score:
        emissions = self.emissions(batch)
        count = int(batch.lengths.sum())
        if self.crf is not None:
            total = -self.crf(emissions, batch.targets, batch.lengths).sum()
        else:
            total = F.cross_entropy(
                emissions.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum"
            )
        with torch.no_grad():
            predicted = self.decoded(emissions, batch.lengths)
        return Score(
            total / count, count, _one_after_the_other(predicted), _one_after_the_other(batch.targets)
        )

    def baselines(self, batch: TaggedTextBatch) -> Mapping[str, Score]:
        targets = _one_after_the_other(batch.targets)
        answers = {"majority": Score(None, len(targets), torch.full_like(targets, self.majority), targets)}
        if batch.usual is not None:
            usual = _one_after_the_other(batch.usual)
            answers["most frequent tag of a word"] = Score(None, len(targets), usual, targets)
        return answers

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._surface = {}
        if self._by_class is not None:
            self._by_class.reset()

    def add_to_report(self, batch: TaggedTextBatch, score: Score) -> None:
        assert score.predicted is not None
        assert score.targets is not None
        if self._by_class is None:
            return
        self._by_class.update(score.predicted, score.targets)
        if batch.texts is None:
            return
        longest = batch.targets.shape[1] + 1
        words = list(
            itertools.chain.from_iterable([*text, *[""] * (longest - len(text))] for text in batch.texts)
        )
        for name, each in {"test": score, **self._named_baselines(batch)}.items():
            assert each.predicted is not None
            assert each.targets is not None
            self._surface.setdefault(name, SurfaceScore(self._by_class.tags)).update(
                each.predicted, each.targets, words
            )

    def _named_baselines(self, batch: TaggedTextBatch) -> dict[str, Score]:
        return {f"baseline/{name}": score for name, score in self.baselines(batch).items()}

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if self._by_class is None:
            return
        self._counts = self._by_class.compute().tolist()  # an all-reduce, in which every process takes part
        for name in sorted(self._surface):
            surface = self._surface[name]
            if self.trainer.world_size > 1:
                gathered: list[Any] = [None] * self.trainer.world_size
                torch.distributed.all_gather_object(gathered, surface.counted())
                surface.add(gathered)
            self.log(f"{name}/{SURFACE}", surface.compute().to(self.device))

    def report(self) -> dict[str, Any]:
        """The scores of each class."""
        return {"span_scores": self._of_classes()} if self._counts else {}

    def _of_classes(self) -> list[dict[str, Any]]:
        """Precision, recall and F1 of each class in the last test, and how many spans there are."""
        assert self._by_class is not None
        rows = []
        for name, *counts in zip(self._by_class.tags.names, *self._counts, strict=True):
            values = scores(*map(torch.tensor, counts))
            row = {what: float(values[what]) for what in ("precision", "recall", "f1")}
            rows.append({"class": name, **row, "predicted": counts[1], "true": counts[2]})
        return rows

    def examples(self) -> Answer | None:
        """The scores of each class in the last test."""
        if not self._counts:
            return None
        formats = dict.fromkeys(("precision", "recall", "f1"), "{:.4f}")
        return Answer(pd.DataFrame(self._of_classes()), "spans by class", formats)

    @torch.no_grad()
    def predict_step(self, batch: TaggedTextBatch, batch_idx: int = 0) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """(Predicted tags [B, T], probability of each [B, T]): with a CRF over all sequences of tags."""
        emissions = self.emissions(batch)
        tags = self.decoded(emissions, batch.lengths)
        if self.crf is None:
            probabilities = torch.softmax(emissions, -1)
        else:
            probabilities = self.crf.marginals(emissions, batch.lengths)
        return tags, probabilities.gather(2, tags.unsqueeze(2)).squeeze(2)

    def answer(self, given: Input) -> Answer:
        """The tag of each word with its probability, spans written as in the files of the training."""
        batch: TaggedTextBatch = given.batch
        assert batch.texts is not None
        tags, certainty = torch.zeros_like(batch.words), torch.zeros(batch.words.shape)
        for rows in batch.lengths.argsort().split(CHUNK):
            longest = int(batch.lengths[rows].max())
            part = batch.selected(rows.tolist())
            tags[rows, :longest], certainty[rows, :longest] = self.predict_step(part)
        real = torch.arange(tags.shape[1]) < batch.lengths[:, None]
        begins = np.zeros(int(real.sum()), bool)
        begins[(batch.lengths.cumsum(0) - batch.lengths).numpy()] = True
        table = pd.DataFrame(
            {
                "sentence": np.repeat(np.arange(1, len(batch.lengths) + 1), batch.lengths.numpy()),
                "word": list(itertools.chain.from_iterable(batch.texts)),
                "tag": self._as_in_files(tags[real].numpy(), begins),
                "probability": certainty[real].tolist(),
                **given.columns,
            }
        )
        one = len(batch.lengths) == 1
        title = "tags of the sentence" if one else f"tags of {given.name}"
        return Answer(
            table.drop(columns="sentence") if one else table,
            title,
            {"probability": "{:.4f}"},
            sentence_ends=tuple(batch.lengths.cumsum(0).tolist()),
        )

    def answer_lines(self, given: Input) -> Sequence[Line]:
        """The words of each sentence, each with its tag behind a slash, and in lists."""
        answer = self.answer(given if "unknown" not in given.columns else replace(given, columns={}))
        assert answer.sentence_ends is not None
        columns = {f"{name}s": answer.table[name].tolist() for name in ("word", "tag")}
        columns["probability"] = answer.table["probability"].tolist()
        lines = []
        for number, (start, end) in enumerate(itertools.pairwise((0, *answer.sentence_ends))):
            values = {name: column[start:end] for name, column in columns.items()}
            pairs = zip(values["words"], values["tags"], strict=True)
            own = {name: column[number] for name, column in given.columns.items() if name == "unknown"}
            lines.append(Line(" ".join(f"{word}/{tag}" for word, tag in pairs), {**values, **own}))
        return lines

    def _as_in_files(self, tags: NDArray[np.int64], begins: NDArray[np.bool_]) -> list[str]:
        """Tags [N] as the files of the training write them."""
        facts: TaggedTextFacts = self.facts
        names = facts.tags
        if facts.spans is not None and facts.scheme != facts.tagged_as:
            scheme = cast("TagScheme", facts.scheme)
            names = all_tags(facts.spans.names, "iobes" if scheme == "iobes" else "iob2")
            tags = span_tags(names).written(facts.spans.spans(tags, begins), begins, scheme)
        return [names[tag] for tag in tags]

    def inspected(self, given: Input) -> Choice:
        """The tag of each word by the linear layer's scores, whatever a CRF makes of them."""
        batch: TaggedTextBatch = given.batch
        facts: TaggedTextFacts = self.facts
        counts = dict(zip(facts.vocabulary, facts.counts, strict=True))
        read = [[facts.vocabulary[i] for i in row] for row in batch.words.tolist()]
        names = [row[:length] for row, length in zip(read, batch.lengths.tolist(), strict=True)]
        names = names if batch.texts is None else [list(text) for text in batch.texts]
        unknown = [word for word in dict.fromkeys(names[0]) if facts.looked_up(word) not in counts]
        beside = "" if self.spellings is None else " beside their characters"
        remarks = [f"Not in the vocabulary, and so read as {UNKNOWN}{beside}: {', '.join(unknown[:20])}."]
        return Choice(
            encoder=self.encoder,
            inputs=self.embedded(batch.words, batch.spelled, batch.spellings, batch.spelling_lengths),
            lengths=batch.lengths,
            step="token",
            names=names,
            title="tag of the word" if self.crf is None else "tag of the word, before the CRF",
            read=lambda outputs, _, lengths: self.head(outputs[torch.arange(len(outputs)), lengths - 1]),
            read_all=self.head,
            features=followed.of_text(read, counts),
            choices=facts.tags,
            truth=batch.targets[0],
            remarks=remarks if unknown else [],
            at_every_step=True,
        )


def _one_after_the_other(tags: Tensor) -> Tensor:
    """Tags [B, T] as one row, in which IGNORED ends every sentence."""
    return F.pad(tags, (0, 1), value=IGNORED).flatten()
