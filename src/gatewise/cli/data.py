"""``gatewise data``: sets of data that are known by name, listed, downloaded and shown; recordings too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.table import Table
from rich.text import Text

from gatewise.cli.words import ACTIONS, OF_SETS
from gatewise.config.outputs import find_output
from gatewise.data.files import installed_file
from gatewise.data.known.finding import PREFIX, Places, State, all_states, state
from gatewise.data.known.getting import get
from gatewise.data.known.look import first_examples
from gatewise.data.known.sets import PIP_SETS, SETS, KnownSet, PipSet, known_set
from gatewise.data.sound.look import can_look, first_recordings, looked_at
from gatewise.data.sound.reading import SUFFIXES
from gatewise.settings import UsageError, closest, one_line, suggestion
from gatewise.settings.checks import file_name
from gatewise.settings.memory import in_words
from gatewise.views.pictures.report import drawn
from gatewise.views.places import command, short
from gatewise.views.plain import cell, plain_console

_STYLES = {"here": "green", "damaged": "red"}


def main(config: DictConfig) -> None:
    """Do what the words say: ``list``, ``get`` with names of sets, or ``show`` with one or with a recording.

    Raises UsageError for other words, ValueError for a set that there is not or that cannot be had.
    """
    if not isinstance(config.words, ListConfig):
        raise ValueError(f"words={config.words}: are given by themselves, as in gatewise data get mr")
    action, *names = [str(word) for word in config.words] or ["list"]
    data_dir = Path(file_name("paths.data_dir", config.paths.data_dir))
    if action not in ACTIONS:
        given = f"data {one_line(action[:60])}"
        if action in SETS or action in PIP_SETS:
            raise UsageError(f"{given}: say what to do with it: data get, or data show")
        raise UsageError(f"{given}: say list, get or show{suggestion(closest(action, ACTIONS))}")
    if action == "list" and names:
        raise UsageError(f"data list takes no name, got {one_line(names[0][:60])}: data show shows one set")
    if action in OF_SETS and (not names or (action == "show" and len(names) > 1)):
        raise UsageError(f"data {action}: give the name of {'a' if action == 'get' else 'one'} set")
    if action == "list":
        _list(data_dir)
    elif action == "get":
        sets = [None if name in PIP_SETS else _named(name) for name in names]
        for name, known in zip(names, sets, strict=True):
            _get(name, known, data_dir)
    elif names[0] in SETS or names[0] in PIP_SETS or not Path(names[0]).exists():
        _show(PIP_SETS[names[0]] if names[0] in PIP_SETS else _named(names[0]), data_dir, config.output)
    else:
        own = Path(names[0])
        picture = _picture_of(first_recordings(own), own.resolve().stem, config.output)
        _print_recordings(*picture)


def _named(name: str) -> KnownSet:
    if name not in SETS and closest(name, PIP_SETS) is not None and closest(name, SETS) is None:
        raise ValueError(f"{one_line(name)}: no such set{suggestion(closest(name, PIP_SETS))}")
    return known_set(name)


def _list(data_dir: Path) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("set", no_wrap=True)
    table.add_column("what it is")
    table.add_column("licence", max_width=20)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    states = all_states(data_dir)
    for name, known in SETS.items():
        word = states[name].word
        row = (known.what, known.licence, in_words(known.size))
        table.add_row(cell(name, "bold"), *map(cell, row), cell(word, _STYLES.get(word, "")))
    for each in PIP_SETS.values():
        places, word = of_package(each)
        size = in_words(size_of(each, places)) if places else ""
        table.add_row(cell(each.name, "bold"), *map(cell, (each.what, each.licence, size)), cell(word))
    console = plain_console()
    console.print(table)
    console.print(f"\nFolder  {short(data_dir)} (paths.data_dir, GATEWISE_DATA)")
    for verb, what in (("get", "downloads a set"), ("show", "says more of it, and shows its first examples")):
        console.print(f"{command('data', verb, 'NAME')}  {what}")


def of_package(each: PipSet) -> tuple[list[Path], str]:
    """The files of a set that comes with pip, and its state."""
    try:
        return [
            installed_file(each.package, file, each.distribution) for file in each.looked_at
        ], "comes with pip"
    except ValueError:
        return [], "not installed"


def _get(name: str, known: KnownSet | None, data_dir: Path) -> None:
    console = plain_console(soft_wrap=True)
    if known is None:
        console.print(f"{name}: comes with pip ({PIP_SETS[name].distribution})")
        return
    folder = get(known, data_dir)
    console.print(f"{name}: here, {_count(known)}, checked, in {short(folder)}")


def _show(known: KnownSet | PipSet, data_dir: Path, output: object) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    if isinstance(known, PipSet):
        places, word = of_package(known)
        rows = {
            "state": f"{word} ({known.distribution})",
            "size": in_words(size_of(known, places)) if places else "unknown",
        }
        begins_after = known.begins_after
    else:
        found = state(Places(known, data_dir))
        rows = {"state": _in_words(found, known), "size": f"{in_words(known.size)}, {_count(known)}"}
        rows["source"] = known.source
        rows["by name"] = f"{PREFIX}{known.name}/{known.looked_at[0]}"
        looked_at = [] if found.folder is None else [found.folder / file for file in known.looked_at]
        places = [place for place in looked_at if place.is_file() and place not in found.wrong]
        begins_after = ""
    rows |= {"licence": known.licence, "citation": known.citation, "homepage": known.homepage}
    for key, value in rows.items():
        table.add_row(cell(key, "dim"), cell(value))
    console = plain_console()
    console.print(Text.assemble((known.name, "bold"), f"  {known.what}"))
    console.print(table)
    sounds = [place for place in places if place.suffix.lower() in SUFFIXES] if can_look() else []
    if sounds:
        _print_recordings(*_picture_of(sounds, known.name, output))
    for place in places:
        if place in sounds:
            continue
        console.print(Text.assemble("\n", (one_line(place.name), "dim")))
        for line in first_examples(place, begins_after):
            text = Text(f"  {line}")
            text.truncate(console.width, overflow="ellipsis")
            console.print(text)
    if not places:
        pip = f"pip install {known.distribution}" if isinstance(known, PipSet) else ""
        console.print(f"\nNothing to look at yet: {pip or command('data', 'get', known.name)}")


def _picture_of(
    recordings: list[Path], name: str, output: object
) -> tuple[list[Path], list[dict[str, Any]], Path]:
    """(Recordings, what was found of each, the picture of their waveforms and features)."""
    found = looked_at(recordings)
    place = find_output("output", f"{name}.png" if output is None else output, [".png"], only=True)
    assert place is not None
    place.write(drawn("recordings", found, name))
    return recordings, found, place.path


def _print_recordings(recordings: list[Path], found: list[dict[str, Any]], picture: Path) -> None:
    console = plain_console(soft_wrap=True)
    for path, each in zip(recordings, found, strict=True):
        console.print(Text.assemble("\n", (one_line(path.name), "dim")))
        channels = f"{each['channels']} channel{'s' if each['channels'] > 1 else ''}"
        console.print(f"  {each['seconds']:.2f} s, {each['rate']} Hz, {channels}")
        console.print(cell(f"  play {one_line(str(path))}"))
    console.print()
    console.print(cell(f"Picture  {short(picture)}  (waveforms, and log-mel energies below)"))


def size_of(each: PipSet, places: list[Path]) -> int:
    """Bytes of all files of a set that comes with pip, of which ``places`` are looked at."""
    if each.files:
        places = list(places[0].parent.glob(each.files))
    return sum(place.stat().st_size for place in places)


def _count(known: KnownSet) -> str:
    return f"{len(known.files)} file{'s' if len(known.files) > 1 else ''}"


def _in_words(found: State, known: KnownSet) -> str:
    if found.folder is None:
        return found.word
    if found.word == "here":
        return f"here, in {short(found.folder)}"
    wrong = f"; wrong: {', '.join(short(path) for path in found.wrong[:3])}" if found.wrong else ""
    return f"{found.word}: {found.right} of {len(known.files)} files in {short(found.folder)}{wrong}"
