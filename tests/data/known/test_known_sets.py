"""The table of known sets against the files themselves and the manifest that they came with."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise.data.known.finding import Places, state
from gatewise.data.known.look import first_examples
from gatewise.data.known.sets import LISTS, PIP_SETS, SETS, known_set
from public_data import DATA, public_data


def test_the_lists_are_those_of_the_sets() -> None:
    assert {path.name.partition(".")[0] for path in LISTS.iterdir()} == set(SETS)
    assert not set(SETS) & set(PIP_SETS)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_pinned(name: str) -> None:
    known = SETS[name]
    assert known.files
    assert len({file.path for file in known.files}) == len(known.files)
    for file in known.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size > 0
        assert re.search(r"/[0-9a-f]{40}[/.]", known.url(file))
        assert known.url(file).startswith("https://")
        assert not re.search(r"(^|/)\.\.?(/|$)|^/", file.path)
    assert {*known.looked_at} <= {file.path for file in known.files}
    assert bool(known.most_bytes) == known.is_archive
    for words in (known.what, known.licence, known.citation, known.homepage):
        assert words
        assert words.isprintable()


def test_a_name_that_is_none_is_likened_to_one() -> None:
    with pytest.raises(
        ValueError, match=r"^data\.files=known:MR: no such set \(did you mean 'mr'\?\); choose"
    ):
        known_set("MR", "data.files=known:")
    with pytest.raises(ValueError, match=r"^x\\x1b\[31m: no such set"):
        known_set("x\x1b[31m")


ALSO_IN_A_WHEEL = ("m1_yearly",)
"""Sets that need no download where an extra is installed; tests of those data read them from there."""


@pytest.mark.parametrize("name", SETS)
def test_the_files_are_right(name: str) -> None:
    known = SETS[name]
    if name in ALSO_IN_A_WHEEL and not (DATA and state(Places(known, Path(DATA))).word == "here"):
        pytest.skip(f"the known set {name} is not in GATEWISE_DATA={DATA or '(not set)'}")
    places = Places(known, public_data(name))
    found = state(places)
    assert (found.word, found.right, found.wrong) == ("here", len(known.files), ())
    assert found.folder is not None
    manifest = places.data_dir / "MANIFEST.tsv"
    if manifest.is_file():
        with manifest.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        rows = [row for row in rows if row["path"].partition("/")[0] == known.place]
        listed = [(file.path, str(file.size), file.sha256) for file in known.files]
        assert listed == [(row["path"].partition("/")[2], row["bytes"], row["sha256"]) for row in rows]
        for file, row in zip(known.files, rows, strict=True):
            assert row["commit"] in known.url(file)
            assert row["source"] in known.url(file)
            archive, _, member = row["source_path"].rpartition("!")
            if not known.is_archive:
                assert known.url(file).endswith(f"{row['commit']}/{row['source_path']}")
            elif archive:
                assert known.url(file).endswith(archive)
                assert member == known.inside + file.path
    for file in known.looked_at:
        lines = first_examples(found.folder / file)
        assert lines
        assert all(line.isprintable() for line in lines)


def test_looking_for_a_set_imports_nothing_heavy() -> None:
    code = (
        "import sys, gatewise.data.files, gatewise.data.known.getting;"
        "print(sorted({'torch', 'numpy', 'pandas', 'rich', 'hydra'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
