"""Labelled texts: every form of file, the parts, and one line for what is wrong."""

import codecs
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from gatewise.data.text import LabelledText
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.reading import facts_from_dict

WORDS = {
    "pos": ["good", "fine", "great"],
    "neg": ["bad", "dull", "awful"],
    "so-so": ["plain", "usual", "mild"],
}


def examples(count=60, classes=("neg", "pos"), seed=0):
    """(text, label) pairs; a text has 1 to 9 words and tells its class, and its number."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(count):
        label = classes[i % len(classes)]
        words = draw.choice(["the", "film", "was", "a", *WORDS[label]], size=draw.integers(1, 9))
        made.append((" ".join([f"n{i}", *words]), label))
    return made


def write_csv(path, pairs, header="text,label", delimiter=","):
    lines = [header.replace(",", delimiter), *(f'"{text}"{delimiter}{label}' for text, label in pairs)]
    path.write_text("\n".join(lines) + "\n")


def make(place, **settings):
    data = LabelledText(**{"folders": [place], "seed": 3, **settings})
    data.setup()
    return data


def trained_on(data):
    """{text: label} of the training part; texts from their tokens."""
    vocabulary, found = data.facts.vocabulary, {}
    for i in range(len(data.train_data)):
        batch = data.train_data[[i]]
        found[" ".join(vocabulary[t] for t in batch.tokens[0])] = data.facts.classes[int(batch.targets[0])]
    return found


FORMS = {}


def form(function):
    FORMS[function.__name__] = function
    return function


@form
def csv_table(folder, pairs):
    write_csv(folder / "mine.csv", pairs)
    return {"files": ["mine.csv"]}


@form
def two_tables(folder, pairs):
    write_csv(folder / "a.csv", pairs[:7])
    write_csv(folder / "b.tsv", pairs[7:], delimiter="\t")
    return {"files": ["a.csv", "b.tsv"]}


@form
def other_columns(folder, pairs):
    write_csv(folder / "mine.csv", pairs, header="review,stars")
    return {"files": ["mine.csv"], "text_column": "review", "label_column": "stars"}


@form
def marked_and_dos(folder, pairs):
    content = "\r\n".join(["text,label", *(f"{text},{label}" for text, label in pairs)])
    (folder / "mine.csv").write_bytes(codecs.BOM_UTF8 + content.encode())
    return {"files": ["mine.csv"]}


@form
def jsonl(folder, pairs):
    lines = [json.dumps({"id": [i], "label": label, "text": text}) for i, (text, label) in enumerate(pairs)]
    (folder / "mine.jsonl").write_text("\n".join(lines) + "\n\n")
    return {"files": ["mine.jsonl"]}


@form
def parquet(folder, pairs):
    texts, labels = zip(*pairs, strict=True)
    columns = {"id": range(len(pairs)), "text": texts, "label": pyarrow.array(labels).dictionary_encode()}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "mine.parquet", row_group_size=7)
    return {"files": ["mine.parquet"]}


@form
def class_files(folder, pairs):
    for name in {label for _, label in pairs}:
        (folder / f"mine.{name}").write_text("\n".join(text for text, label in pairs if label == name) + "\n")
    return {"files": ["mine.neg", "mine.pos"]}


@form
def class_folders(folder, pairs):
    for i, (text, label) in enumerate(pairs):
        (folder / "all" / label).mkdir(parents=True, exist_ok=True)
        (folder / "all" / label / f"{i}.txt").write_text(text)
    (folder / "all" / ".cache").mkdir()
    return {"folder": "all"}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_texts(write, tmp_path):
    pairs = examples()
    data = make(tmp_path, **write(tmp_path, pairs))
    texts = dict(pairs)
    assert data.facts.classes == ("neg", "pos")
    assert trained_on(data).items() <= texts.items()
    assert len(trained_on(data)) == 48
    assert [len(getattr(data, f"{p}_data")) for p in ("train", "validation", "test")] == [48, 6, 6]
    for text, target in zip(data.test_data.texts, data.test_data.targets.tolist(), strict=True):
        assert texts[text] == data.facts.classes[target]
    assert facts_from_dict(json.loads(json.dumps(data.facts.to_dict()))) == data.facts


def test_quoted_texts_keep_their_separators_and_lines(tmp_path):
    rows = ["text,label"] + [f'"one, two ""three""\nfour {i}",{"ab"[i % 2]}' for i in range(20)]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    data = make(tmp_path, files=["mine.csv"])
    assert data.test_data.texts[0].startswith('one, two "three"\nfour')
    tokens = [data.facts.vocabulary[t] for t in data.train_data[[0]].tokens[0]]
    assert tokens[:7] == ["one", ",", "two", '"', "three", '"', "four"]


def test_parts_are_of_every_class_alike_and_drawn_with_the_seed(tmp_path):
    pairs = examples(90, ("neg", "pos", "so-so"))[:-17]
    write_csv(tmp_path / "mine.csv", pairs)
    data = make(tmp_path, files=["mine.csv"], validation_fraction=0.2, test_fraction=0.3)
    for part, share in (("validation", 0.2), ("test", 0.3)):
        counts = np.bincount(getattr(data, f"{part}_data").targets, minlength=3)
        whole = np.bincount([["neg", "pos", "so-so"].index(label) for _, label in pairs])
        assert abs(counts - share * whole).max() < 1
        assert counts.sum() == round(share * len(pairs))
    again, other = (
        make(tmp_path, files=["mine.csv"], validation_fraction=0.2, test_fraction=0.3, seed=seed)
        for seed in (3, 4)
    )
    assert again.test_data.texts == data.test_data.texts != other.test_data.texts


def test_folds_share_out_all_texts(tmp_path):
    pairs = examples(67)
    write_csv(tmp_path / "mine.csv", pairs)
    tested = []
    for fold in range(4):
        data = make(tmp_path, files=["mine.csv"], fold=fold, folds=4)
        assert len(data.test_data) in (16, 17)
        assert abs(np.diff(np.bincount(data.test_data.targets))[0]) <= 1
        tested += data.test_data.texts
        assert data.describe()["test part"] == f"fold {fold} of 4, drawn with seed 3"
    assert sorted(tested) == sorted(text for text, _ in pairs)


def test_parts_of_their_own(tmp_path):
    for name, seed in (("train", 1), ("valid", 2), ("test", 3)):
        write_csv(tmp_path / f"{name}.csv", examples(20, seed=seed))
    write_csv(tmp_path / "test.csv", [*examples(20, seed=1)[:3], ("a new word", "pos")])
    data = make(tmp_path, files=["train.csv"], validation_files=["valid.csv"], test_files=["test.csv"])
    assert [len(d) for d in (data.train_data, data.validation_data, data.test_data)] == [20, 20, 4]
    assert data.test_data.texts[-1] == "a new word"
    assert data.describe()["also in training"] == "3 of the test texts, word for word"
    # The facts of the training read other files.
    alone = LabelledText(files=["gone.csv"], test_files=["test.csv"], folders=[tmp_path])
    alone.facts = data.facts
    alone.setup("test")
    assert all(map(np.array_equal, alone.test_data[[0, 3]][:3], data.test_data[[0, 3]][:3]))
    assert next(iter(alone.test_dataloader())).linear is None


def test_rare_words_long_texts_and_a_limit(tmp_path):
    write_csv(tmp_path / "mine.csv", [("a a a b b c", "x"), ("a b d e f g h", "y")] * 10)
    data = make(tmp_path, files=["mine.csv"], max_length=2, test_fraction=0.2)
    assert data.facts.vocabulary == ("<unk>", "a", "b")
    assert int(data.train_data.lengths.max()) == 2
    assert data.describe()["cut"] == "texts of more than 2 tokens; the longest has 7"
    data = make(tmp_path, files=["mine.csv"], max_vocabulary=3, test_fraction=0.2)
    assert data.facts.vocabulary == ("<unk>", "a", "b")
    assert data.facts.counts[0] == sum(data.facts.counts) - data.facts.counts[1] - data.facts.counts[2]
    with pytest.raises(ValueError, match="comes 99 times or more"):
        make(tmp_path, files=["mine.csv"], min_count=99)


def test_what_predict_reads(tmp_path):
    write_csv(tmp_path / "mine.csv", examples())
    facts = make(tmp_path, files=["mine.csv"], min_count=2).facts
    words = LabelledText.read_input("A GOOD film", facts)
    assert [facts.vocabulary[t] for t in words.batch.tokens[0]] == ["a", "good", "film"]
    assert words.batch.targets.tolist() == [IGNORED]
    (tmp_path / "lines.txt").write_text("good\n\nthe film\n")
    lines = LabelledText.read_input(tmp_path / "lines.txt", facts)
    assert lines.batch.texts == ["good", "", "the film"]
    assert lines.batch.lengths.tolist() == [1, 1, 2]
    assert lines.batch.tokens[1].tolist() == [0, 0]
    (tmp_path / "new.csv").write_text("label,text\npos,good\nodd,bad\n")
    table = LabelledText.read_input(tmp_path / "new.csv", facts)
    assert table.batch.targets.tolist() == [1, IGNORED]
    assert table.columns == {"label": ["pos", "odd"]}
    (tmp_path / "bare.jsonl").write_text('{"text": "good"}\n')
    assert LabelledText.read_input(tmp_path / "bare.jsonl", facts).columns == {}
    (tmp_path / "other.csv").write_text("texts\ngood\n")
    said = r"other.csv:1: no column 'text' \(did you mean 'texts'\?\); .* called so, rename yours"
    with pytest.raises(ValueError, match=said):
        LabelledText.read_input(tmp_path / "other.csv", facts)


LINE = "a good film,pos\n"
WRONG = {
    "missing label column": (
        "text,labell\n" + LINE,
        r"mine.csv:1: no column 'label' \(did you mean 'labell'\?\); it "
        r"has 'text, labell': name one with data.label_column",
    ),
    "missing text column": ("review,label\n" + LINE, "no column 'text'.*data.text_column"),
    "column twice": ("text,label,text\n" + LINE, "two columns are called 'text'"),
    "empty document": ("text,label\n" + LINE + " ,neg\n", "mine.csv:3: the text is empty"),
    "no token": ("text,label\n" + LINE + "\u200b,neg\n", "mine.csv:3: the text '.*' has no token"),
    "empty label": ("text,label\n" + LINE + "bad,\n", "mine.csv:3: the label is empty"),
    "one class": ("text,label\n" + LINE * 20, "data.files: every text has the label 'pos'"),
    "one of a class": ("text,label\n" + LINE * 20 + "x,neg\n", None),
    "alike labels": (
        "text,label\n" + LINE + "bad,pos \n",
        "mine.csv:3: label 'pos ' looks like 'pos' of .*mine.csv:2",
    ),
    "NUL": ("text,label\na\0b,pos\n", "mine.csv:2: a NUL byte at offset 12"),
    "mixed encodings": (
        b"text,label\nna\xc3\xafve,pos\nna\xefve,neg\n",
        "mine.csv:3: byte 0xef at offset 24 is not",
    ),
    "too few columns": (
        "text,label\n" + LINE + "bad\n",
        r"mine.csv:3: 1 column\(s\), but the header has 2: fill the row",
    ),
    "too many columns": (
        "text,label\n" + LINE + "bad, really,neg\n",
        r"mine.csv:3: 3 column\(s\), but the header has 2: quote",
    ),
    "open quote": (
        "text,label\n" + LINE + '"bad,neg\n' + LINE,
        "mine.csv:3: quotes open here and do not close",
    ),
    "10 MB": (
        "text,label\n" + LINE + "a " * 5_000_000 + ",neg\n",
        "mine.csv:3: a text of 10,000,000 characters",
    ),
    "nothing": ("", "mine.csv is empty"),
    "header only": ("text,label\n", "mine.csv holds no text below the names of its columns"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_table_is_named_in_one_line(content, message, tmp_path):
    (tmp_path / "mine.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    if message is None:  # a class with one text keeps it for the training
        assert make(tmp_path, files=["mine.csv"]).facts.class_counts[0] == 1
        return
    with pytest.raises(ValueError, match=message) as caught:
        make(tmp_path, files=["mine.csv"])
    assert "\n" not in str(caught.value)


OBJECTS = {
    "no JSON": ("good", "mine.jsonl:2: not an object of JSON"),
    "a list": ("[1]", "mine.jsonl:2: not an object such as"),
    "no label": ('{"text": "good"}', "mine.jsonl:2: no column 'label'"),
    "no text": (
        '{"text": ["good"], "label": 1}',
        r"mine.jsonl:2: 'text' must be text, got \[\"good\"\]: correct",
    ),
    "half a pair in a label": ('{"text": "a", "label": "\\ud800"}', "mine.jsonl:2: half a surrogate pair"),
    "NUL": ('{"text": "a\\u0000b", "label": 1}', "mine.jsonl:2: the text has a NUL"),
    "half a pair": ('{"text": "\\ud800", "label": 1}', "mine.jsonl:2: half a surrogate pair"),
}


@pytest.mark.parametrize(("line", "message"), OBJECTS.values(), ids=OBJECTS)
def test_a_wrong_object_is_named_in_one_line(line, message, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"text": "bad", "label": 0}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        make(tmp_path, files=["mine.jsonl"])


PARQUET = {
    "no label column": ({"text": ["a"], "labels": ["b"]}, r"mine.parquet: no column 'label' \(did you mean"),
    "absent text": ({"text": ["a", None], "label": ["b", "c"]}, "mine.parquet:2: the text is empty"),
    "absent label": ({"text": ["a", "b"], "label": ["b", None]}, "mine.parquet:2: the label is empty"),
    "NUL": ({"text": ["a\0b"], "label": ["b"]}, "mine.parquet:1: the text has a NUL"),
    "numbers": ({"text": ["a"], "label": [0.5]}, "mine.parquet: column 'label' holds double: give text, or"),
    "lists": ({"text": [["a"]], "label": [1]}, "mine.parquet: column 'text' holds list"),
    "nothing": ({"text": pyarrow.array([], "string"), "label": pyarrow.array([], "string")}, "holds no text"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), PARQUET.values(), ids=PARQUET)
def test_a_wrong_parquet_file_is_named_in_one_line(columns, message, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match=message):
        make(tmp_path, files=["mine.parquet"])


@pytest.mark.parametrize("kept", [7, 20, -3])
def test_a_damaged_parquet_file_is_named_in_one_line(kept, tmp_path):
    path = tmp_path / "mine.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": ["c", "d"]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept] + b"\xff" * 3 + whole[kept:][3:])
    with pytest.raises(
        ValueError, match=r"mine.parquet cannot be read as Parquet \(.*\): write it anew"
    ) as caught:
        make(tmp_path, files=["mine.parquet"])
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ValueError, match=r"mine.parquet is a Parquet file.*pip install 'gatewise\[parquet\]'"
    ):
        make(tmp_path, files=["mine.parquet"])


def test_labels_of_other_parts(tmp_path):
    write_csv(tmp_path / "mine.csv", examples())
    write_csv(tmp_path / "test.csv", [("good", "pos"), ("bad", "ned")])
    with pytest.raises(ValueError, match=r"test.csv:3: label 'ned' is not among .*\(did you mean 'neg'\?\)"):
        make(tmp_path, files=["mine.csv"], test_files=["test.csv"])
    write_csv(tmp_path / "test.csv", [("good", "pos")])
    data = make(tmp_path, files=["mine.csv"], test_files=["test.csv"])
    assert data.describe()["not in test"] == "class neg"


def test_wrong_folders_and_files(tmp_path):
    (tmp_path / "all" / "pos").mkdir(parents=True)
    with pytest.raises(ValueError, match="pos holds no file"):
        make(tmp_path, folder="all")
    with pytest.raises(ValueError, match="holds no folder: it has to have one for each class"):
        make(tmp_path, folder="all/pos")
    with pytest.raises(ValueError, match=r"data\.folder=al: there is no such folder"):
        make(tmp_path, folder="al")
    (tmp_path / "mine.pos").write_text("good\n\nfine\n")
    with pytest.raises(ValueError, match=r"mine.pos:2: the text is empty"):
        make(tmp_path, files=["mine.pos"])
    write_csv(tmp_path / "mine.csv", examples())
    with pytest.raises(ValueError, match=r"mine.pos is no table, and .*mine.csv is one"):
        make(tmp_path, files=["mine.csv", "mine.pos"])


SETTINGS = {
    "no source": ({"files": None}, "got none of them"),
    "two sources": ({"folder": "x"}, "got files and folder"),
    "two tests": ({"test_files": ["x"], "test_folder": "y"}, "test_files and test_folder are two sources"),
    "fold too large": ({"fold": 10}, "fold=10 of folds=10: give a number from 0 to 9"),
    "fold and test": ({"fold": 1, "test_files": ["x"]}, "fold=1 is a test part"),
    "no training": (
        {"fold": 0, "folds": 2, "validation_fraction": 0.5},
        "leave nothing to train on beside a fold",
    ),
    "no training either": ({"test_fraction": 0.5, "validation_fraction": 0.5}, "leave nothing to train on"),
    "empty fold": ({"fold": 70, "folds": 99}, "data.fold=70 of 99 of 60 texts leaves none for test"),
    "empty part": ({"test_fraction": 0.001}, "data.test_fraction=0.001 of 60 texts leaves none for test"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_do_not_go_together(settings, message, tmp_path):
    write_csv(tmp_path / "mine.csv", examples())
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **{"files": ["mine.csv"], **settings})


MR = Path(os.environ.get("GATEWISE_DATA", "")) / "mr"


@pytest.mark.skipif(not MR.is_dir(), reason="needs the files of MR in GATEWISE_DATA")
def test_movie_reviews_are_ready_soon():
    files = [str(MR / "rt-polarity.neg"), str(MR / "rt-polarity.pos")]
    began = time.process_time()
    data = make(None, files=files, folders=[], tokenizer="whitespace", fold=3, validation_fraction=0.09,
                min_count=2, log_count_ratios=True)  # fmt: skip
    took = time.process_time() - began
    parts = (data.train_data, data.validation_data, data.test_data)
    targets = np.concatenate([part.targets for part in parts])
    assert np.bincount(targets).tolist() == [5331, 5331]
    assert [len(part) for part in parts[1:]] == [960, 1066]
    assert data.facts.classes == ("neg", "pos")
    assert took <= 3, "seconds of the CPU"


def test_verses_of_the_king_james_bible():
    data = make(None, corpus="king_james_verses", folders=[], linear_baseline=False, tokenizer="whitespace")
    assert sum(map(len, (data.train_data, data.validation_data, data.test_data))) == 31_102
    assert len(data.facts.classes) == 7
    index = next(i for i, text in enumerate(data.test_data.texts) if "Jesus" in text.split())
    assert data.facts.classes[int(data.test_data.targets[index])] in (
        "gospels and acts",
        "letters",
        "revelation",
    )
