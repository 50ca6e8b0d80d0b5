"""The linear baseline of text classification: logistic regression on naive-Bayes-weighted words and pairs.

S. Wang and C. Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification", ACL 2012,
with logistic regression in place of the support vector machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.text.tokenized import Tokenized

SMOOTHING = 1.0
"""α of the paper, added to every count."""
PENALTY = 1.0
"""C of the logistic regression; the paper's value for its weighted features."""


class NaiveBayesLogistic:
    """Logistic regression on whether a text has a word or a pair of neighbours, times its log-count ratio.

    Of a feature that p of the texts of a class and q of the others have (each plus ``SMOOTHING``), the ratio
    is log((p / sum of all p) / (q / sum of all q)). Several classes are each told from all the others.

    Args:
        texts: N texts.
        targets: [N] their classes, from 0 to ``n_classes`` - 1, each there at least once.
    """

    def __init__(self, texts: Tokenized, targets: NDArray[np.int64], n_classes: int) -> None:
        from sklearn.linear_model import LogisticRegression

        self.types = len(texts.types)
        rows, features = self._pairs(texts)
        self.known = distinct(features)
        """Every feature of the training texts, in order."""
        present = self._matrix(rows, features, len(texts))
        # Two classes are one question.
        asked = range(n_classes) if n_classes > 2 else (1,)
        self.ratios: list[NDArray[np.float64]] = []
        self.models: list[Any] = []
        for label in asked:
            is_label = targets == label
            ratio = log_count_ratio(
                *(np.asarray(present[rows].sum(0)).ravel() for rows in (is_label, ~is_label))
            )
            model = LogisticRegression(C=PENALTY, solver="liblinear", tol=1e-2, max_iter=1000)
            self.models.append(model.fit(present.multiply(ratio).tocsr(), is_label))
            self.ratios.append(ratio)

    def predict(self, texts: Tokenized) -> NDArray[np.int64]:
        """The classes [N] of N texts, whose words are numbered as those of the training."""
        rows, features = self._pairs(texts)
        present = self._matrix(rows, features, len(texts))
        scores = np.stack(
            [
                model.decision_function(present.multiply(ratio).tocsr())
                for model, ratio in zip(self.models, self.ratios, strict=True)
            ]
        )
        classes: NDArray[np.int64] = scores.argmax(0) if len(scores) > 1 else (scores[0] > 0).astype(np.int64)
        return classes

    def _pairs(self, texts: Tokenized) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(Text, feature) of every word and every pair of neighbours, each feature as one number."""
        ids = texts.ids.astype(np.int64)
        row = np.repeat(np.arange(len(texts)), texts.lengths)
        inside = row[1:] == row[:-1]
        pairs = (ids[:-1] + 1) * self.types + ids[1:]
        return np.concatenate([row, row[1:][inside]]), np.concatenate([ids, pairs[inside]])

    def _matrix(self, rows: NDArray[np.int64], features: NDArray[np.int64], count: int) -> Any:
        """[count, features] sparse: 1 where a text has a feature of the training."""
        from scipy.sparse import csr_matrix

        columns = np.minimum(np.searchsorted(self.known, features), len(self.known) - 1)
        seen = self.known[columns] == features
        places = distinct(rows[seen] * len(self.known) + columns[seen])
        where = (places // len(self.known), places % len(self.known))
        return csr_matrix((np.ones(len(places)), where), shape=(count, len(self.known)))


def log_count_ratio(inside: NDArray[Any], outside: NDArray[Any]) -> NDArray[np.float64]:
    """The ratio [features] of a class, for how many texts inside and outside of it have each feature."""
    p, q = SMOOTHING + inside, SMOOTHING + outside
    ratio: NDArray[np.float64] = np.log((p / p.sum()) / (q / q.sum()))
    return ratio


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct ones of numbers [N], in order: by sorting, for numpy's hash table is slower."""
    ordered = np.sort(numbers)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
