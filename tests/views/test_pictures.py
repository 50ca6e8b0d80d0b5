"""Pictures: real PNG files, with the panels, lines and numbers that they should show."""

import base64
import errno
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gatewise.data.images.pictures import png_of
from gatewise.views.pictures import attention, caption_attention, confusion_matrix, forecasts, mistakes
from gatewise.views.pictures.learning_curves import learning_curves
from gatewise.views.pictures.report import draw_report

NAN = float("nan")


def lines(axes):
    """Label to [(x, y), …] of a panel's lines."""
    return {
        line.get_label(): [
            (float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        for line in axes.lines
    }


def texts(axes):
    return [text.get_text() for text in axes.texts]


def draw(rows, path, monitor="val/accuracy", mode="max", within=()):
    return learning_curves(rows, path / "plots" / "curves.png", monitor, mode, "mine · 1", within)


def test_a_panel_per_metric_the_monitored_one_first(tmp_path, figures, size):
    rows = [
        {"epoch": e, "step": 9 * e, "lr-Adam": 0.1, "train/loss": 4.0 - e, "val/loss": 5.0 - e,
         "train/accuracy": (e - 1) / 4, "val/accuracy": v, "val/f1": 0.5}
        for e, v in enumerate((0.2, 0.75, 0.5), 1)
    ]  # fmt: skip
    assert draw(rows, tmp_path)
    (figure,) = figures
    # 3 panels of 4.2 × 3.2 inches at 120 dots each.
    assert size(tmp_path / "plots" / "curves.png") == (1512, 384)
    assert figure.get_suptitle() == "mine · 1"
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss", "f1"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    accuracy, loss, f1 = figure.axes
    # Epochs are counted from 1; the best is epoch 2 with 0.75.
    assert lines(accuracy) == {
        "training": [(1, 0), (2, 0.25), (3, 0.5)],
        "validation": [(1, 0.2), (2, 0.75), (3, 0.5)],
        "best": [(2, 0.75)],
    }
    assert texts(accuracy) == ["0.75"]
    assert lines(loss) == {
        "training": [(1, 3), (2, 2), (3, 1)],
        "validation": [(1, 4), (2, 3), (3, 2)],
    }
    assert texts(loss) == []
    assert list(lines(f1)) == ["validation"]
    # The other panels show nothing that the first one's legend does not name.
    assert legend(accuracy) == list(lines(accuracy))
    assert legend(loss) == legend(f1) == []


def legend(axes):
    box = axes.get_legend()
    return [] if box is None else [text.get_text() for text in box.get_texts()]


def test_a_panel_with_a_line_that_no_legend_names_yet_has_one(tmp_path, figures):
    draw(
        [{"epoch": e, "val/f1": 0.5, "val/loss": 1.0, "train/loss": 1.0} for e in (1, 2)], tmp_path, "val/f1"
    )
    assert [legend(axes) for axes in figures[0].axes] == [["validation", "best"], ["training", "validation"]]


def test_the_best_of_a_metric_that_should_be_small(tmp_path, figures):
    rows = [{"epoch": e, "val/mse": v} for e, v in enumerate((3.0, 1.0, 2.0), 1)]
    assert draw(rows, tmp_path, "val/mse", "min")
    assert lines(figures[0].axes[0])["best"] == [(2, 1)]


def test_an_epoch_with_several_validations_is_drawn_from_them(tmp_path, figures):
    rows = [
        {"epoch": e, "train/accuracy": 0.5, "train/loss": 10.0 - e, "val/loss": 4.0 - e} for e in (1, 2, 3)
    ]
    # The second epoch's alone: the others had one validation.
    within = [{"epochs": 1 + f, "step": 9, "train/loss": 7 - f, "val/loss": 2.5 - f} for f in (0.25, 0.75, 1)]
    assert draw(rows, tmp_path, "val/loss", "min", within)
    loss, accuracy = map(lines, figures[0].axes)
    assert loss == {
        "training": [(1, 9), (1.25, 6.75), (1.75, 6.25), (2, 6), (3, 7)],
        "validation": [(1, 3), (1.25, 2.25), (1.75, 1.75), (2, 1.5), (3, 1)],
        "best": [(3, 1)],
    }
    assert accuracy == {"training": [(1, 0.5), (2, 0.5), (3, 0.5)]}


SPARSE = {
    "one epoch": ([{"epoch": 0, "train/loss": 1.0, "val/loss": 2.0}], ["training", "validation", "best"]),
    "no training metrics": ([{"epoch": e, "val/loss": 1.0} for e in (1, 2)], ["validation", "best"]),
    "no validation": ([{"epoch": e, "train/loss": 1.0} for e in (1, 2)], ["training"]),
    "validation now and then": (
        [{"epoch": 0, "train/loss": 1.0}, {"epoch": 1, "train/loss": 1.0, "val/loss": 1.0}],
        ["training", "validation", "best"],
    ),
    "nan among": ([{"epoch": e, "val/loss": v} for e, v in enumerate((1.0, NAN))], ["validation", "best"]),
    "nan alone": ([{"epoch": 0, "val/loss": NAN, "train/loss": NAN}], ["training", "validation"]),
    "infinite alone": ([{"epoch": 0, "val/loss": math.inf}], ["validation", "best"]),
    "infinite among": ([{"epoch": e, "val/loss": v} for e, v in enumerate((math.inf, 1.0))],
                       ["validation", "best"]),
    "constant": ([{"epoch": e, "val/loss": 0.0} for e in range(3)], ["validation", "best"]),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "labels"), SPARSE.values(), ids=SPARSE)
def test_curves_of_few_or_broken_values(rows, labels, tmp_path, figures, size):
    assert draw(rows, tmp_path, "val/loss", "min")
    (axes,) = figures[0].axes
    assert list(lines(axes)) == labels
    width, height = size(tmp_path / "plots" / "curves.png")
    assert (width, height) == (504, 384)  # 4.2 × 3.2 inches at 120 dots
    for line in axes.lines:  # a single point is no line: it takes a mark to be seen
        assert len(line.get_xdata()) > 1 or line.get_marker() not in ("None", None)


@pytest.mark.parametrize("rows", [[], [{"epoch": 0, "lr-Adam": 0.1}]], ids=["no rows", "no metrics"])
def test_nothing_to_draw(rows, tmp_path, figures):
    assert not draw(rows, tmp_path)
    assert not figures
    assert not list(tmp_path.iterdir())


def test_many_metrics_take_rows_of_three(tmp_path, figures, size):
    rows = [{"epoch": e, **{f"val/m{i}": 1.0 for i in range(7)}} for e in (1, 2)]
    assert draw(rows, tmp_path)
    assert len(figures[0].axes) == 7
    assert size(tmp_path / "plots" / "curves.png") == (1512, 3 * 384)


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    rows = [{"epoch": 0, "val/loss": 1.0}]
    draw(rows, tmp_path)
    before = (tmp_path / "plots" / "curves.png").read_bytes()

    def half(_canvas, file, **_settings):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", half)
    with pytest.raises(OSError, match="No space left"):
        draw(rows, tmp_path)
    (left,) = (tmp_path / "plots").iterdir()
    assert left.read_bytes() == before


def test_confusion_matrix_shows_every_count_where_it_belongs(tmp_path, figures, size):
    counts = np.array([[5, 2, 0], [0, 7, 1], [0, 0, 0]])
    confusion_matrix.draw({"counts": counts, "classes": ["a", "bb", "longer"]}, tmp_path / "c.png", "mine")
    (axes,) = figures[0].axes
    # x is the predicted, y the true class; zeros stay empty.
    shown = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "5", (0, 1): "2", (1, 1): "7", (1, 2): "1"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["a", "bb", "longer"]
    # On the diagonal 5 + 7 of 15.
    assert axes.get_title() == "mine\n12 of 15 test sequences correct"
    # Colours are shares of the true class; one without examples has none.
    expected = [[5 / 7, 2 / 7, 0], [0, 7 / 8, 1 / 8], [0, 0, 0]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    # White on dark (more than half), black on light.
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    assert colors == {"5": "white", "2": "black", "7": "white", "1": "black"}
    assert size(tmp_path / "c.png") == (672, 624)  # 5.6 × 5.2 inches at 120 dots


@pytest.mark.parametrize(
    ("n", "long"),
    [(2, True), (9, False), (12, True), (13, False), (31, True)]
    + [pytest.param(n, long, marks=pytest.mark.slow) for n in (30, 100) for long in (False, True)],
)
def test_nothing_of_a_confusion_matrix_overlaps(n, long, tmp_path, figures):
    classes = [f"{'a class of a long name ' * long}{i}" for i in range(n)]
    counts = np.random.default_rng(0).integers(0, 9999, (n, n))
    confusion_matrix.draw({"counts": counts, "classes": classes}, tmp_path / "c.png", "mine")
    (axes,) = figures[0].axes
    renderer = figures[0].canvas.get_renderer()
    # Measured in the finished picture: each text is inside its row, its column and the picture.
    square = axes.transData.transform([[0, 0], [1, 1]])
    width, height = np.abs(square[1] - square[0])
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        assert box.width <= width
        assert box.height <= height
    for label in axes.get_yticklabels():
        box = label.get_window_extent(renderer)
        assert box.height <= 1.2 * height
        assert box.x0 >= 0
    for label in axes.get_xticklabels():
        box = label.get_window_extent(renderer)
        assert box.width <= (1.2 if long or n > 30 else 1) * width
        assert box.y0 >= 0


@pytest.mark.parametrize(("n", "numbers"), [(1, 1), (30, 30), (31, 0)])
def test_numbers_of_a_confusion_matrix_where_they_fit(n, numbers, tmp_path, figures, size):
    classes = [str(i) for i in range(n)]
    confusion_matrix.draw({"counts": np.eye(n, dtype=int), "classes": classes}, tmp_path / "c.png", "mine")
    assert len(figures[0].axes[0].texts) == numbers
    size(tmp_path / "c.png")


def window(seen, horizon=2, targets=2):
    """Target 0 counts up from 0 through what was seen and what came; the forecast is 100 above."""
    values = np.arange(seen + horizon, dtype=float)[:, None] + 1000 * np.arange(targets)
    return {
        "seen": values[:seen].tolist(),
        "truth": values[seen:].tolist(),
        "forecast": (values[seen:] + 100).tolist(),
    }


@pytest.mark.parametrize(
    ("n", "title", "pixels"),
    [
        (1, "a test window", (504, 384)),
        (2, "2 test windows", (1008, 384)),
        (4, "4 test windows", (1008, 768)),
    ],
)
def test_forecasts_show_the_first_target(n, title, pixels, tmp_path, figures, size):
    data = {"windows": [window(3)] * n, "targets": ["sales", "other"]}
    forecasts.draw(data, tmp_path / "f.png", "mine")
    (figure,) = figures
    assert figure.get_suptitle() == f"mine: sales in {title}"
    assert size(tmp_path / "f.png") == pixels
    assert len(figure.axes) == n
    for axes in figure.axes:
        drawn = lines(axes)
        # Step 0 is the last one seen; truth and forecast start from it.
        assert drawn["seen"] == [(-2, 0), (-1, 1), (0, 2)]
        assert drawn["truth"] == [(0, 2), (1, 3), (2, 4)]
        assert drawn["forecast"] == [(0, 2), (1, 103), (2, 104)]
        assert axes.get_ylabel() == "sales"


@pytest.mark.parametrize(("lookback", "horizon", "shown"), [(10, 2, 10), (100, 2, 24), (100, 10, 40)])
def test_a_long_past_is_cut(lookback, horizon, shown, tmp_path, figures):
    """To four horizons, or 24 steps where these are more."""
    data = {"windows": [window(lookback, horizon)], "targets": ["x"]}
    forecasts.draw(data, tmp_path / "f.png", "mine")
    seen = lines(figures[0].axes[0])["seen"]
    assert len(seen) == shown
    assert seen[-1] == (0, lookback - 1)
    assert seen[0] == (1 - shown, lookback - shown)


def test_forecasts_show_the_chosen_targets_over_their_dates(tmp_path, figures, size):
    times = [f"2024-01-{day:02}" for day in range(1, 6)]
    data = {"windows": [{**window(3), "times": times}] * 3, "targets": ["a", "b"], "pictured": ["b", "a"]}
    forecasts.draw(data, tmp_path / "f.png", "mine")
    (figure,) = figures
    assert figure.get_suptitle() == "mine: b, a in 3 test windows"
    assert size(tmp_path / "f.png") == (1512, 768)  # a row of three for each target
    assert [axes.get_ylabel() for axes in figure.axes] == ["b"] * 3 + ["a"] * 3
    for axes in figure.axes:
        assert lines(axes)["seen"][-1] == (0, 1002 if axes.get_ylabel() == "b" else 2)
        # Steps -2 to 2 are the first to the fifth of January; for ten letters, three have room.
        labels = dict(
            zip(axes.get_xticks(), [label.get_text() for label in axes.get_xticklabels()], strict=True)
        )
        assert labels == {-2: "2024-01-01", 0: "2024-01-03", 2: "2024-01-05"}


ATTENDED = {
    "read": ["ein", " $Hund$", "</s>"],
    "written": [" a", " dog" * 9, ".\n", "</s>"],
    "weights": [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.1, 0.9], [0.0, 0.0, 1.0]],
    "source": "ein $Hund$ " * 40,
    "translation": "a dog.",
    "reference": "",
}
CAPTIONED = {
    "picture": "$a$.png",
    "caption": "a dog.",
    "reference": "",
    "image": base64.b64encode(png_of(np.full((3, 6, 8), 200, np.uint8))).decode(),
    "grid": [2, 3],
    "written": [f"word{n}" for n in range(11)],
    "weights": [[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]] * 11,
}
REPORTS = {
    "captions": ({"caption_attention": [CAPTIONED] * 2}, ["caption_attention.png"]),
    "captions of maps": ({"caption_attention": [{**CAPTIONED, "image": None}]}, ["caption_attention.png"]),
    "captions of nothing": ({"caption_attention": []}, ["caption_attention.png"]),
    "classification": (
        {"confusion_matrix": {"classes": ["a", "b"], "counts": [[1, 0], [1, 2]]}},
        ["confusion_matrix.png"],
    ),
    "forecasting": ({"forecasts": {"targets": ["x"], "windows": [window(3, targets=1)]}}, ["forecasts.png"]),
    "texts": (
        {"mistakes": [{"probability": 0.9, "true": "a", "predicted": "b", "text": "$x_$ " * 99}] * 20},
        ["mistakes.png"],
    ),
    "texts without a mistake": ({"mistakes": []}, ["mistakes.png"]),
    "attention": ({"attention": [ATTENDED] * 3}, ["attention.png"]),
    "attention of nothing": ({"attention": []}, ["attention.png"]),
    "nothing": ({}, []),
}


@pytest.mark.parametrize(("report", "names"), REPORTS.values(), ids=REPORTS)
def test_pictures_of_a_test_report(report, names, tmp_path, size):
    paths = draw_report(report, tmp_path, "mine")
    assert paths == [tmp_path / name for name in names]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    for path in paths:
        size(path)


def test_each_word_of_a_caption_lights_what_it_attended_to(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(caption_attention, "write_picture", lambda _, figure: figures.append(figure))
    caption_attention.draw([CAPTIONED], tmp_path / "a.png", "mine")
    (figure,) = figures
    picture, *words = figure.axes
    assert [axes.get_title() for axes in words] == CAPTIONED["written"]
    assert (np.asarray(picture.images[0].get_array()) * 255).round().max() == 200
    lit = np.asarray(words[0].images[0].get_array()).mean(-1)
    assert lit.shape == (6, 8)
    assert np.unravel_index(lit.argmax(), lit.shape)[0] < 3  # above
    assert lit[0, 3:5].min() > 2 * lit[-1].max()
    assert lit[0, 0] < lit[0, 3] > lit[0, 7]


def test_a_map_of_attention_has_a_row_for_each_token_written(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(attention, "write_picture", lambda _, figure: figures.append(figure))
    attention.draw(
        [ATTENDED, {**ATTENDED, "read": ["x"], "weights": [[1.0]] * 4}], tmp_path / "a.png", "mine"
    )
    (figure,) = figures
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [
        "a",
        "dog dog dog dog…",
        ".\\n",
        "</s>",
    ]
    assert [label.get_text() for label in first.get_xticklabels()] == ["ein", "$Hund$", "</s>"]
    assert first.images[0].get_array().tolist() == ATTENDED["weights"]
    assert second.images[0].get_array().shape == (4, 1)
    (own, _) = (text for text in figure.texts if text is not figure._suptitle)
    assert own.get_text().startswith("source: ein $Hund$")
    assert "reference" not in own.get_text()
    boxes = [axes.get_position() for axes in figure.axes]
    assert boxes[0].x1 < boxes[1].x0
    assert all(0 < box.x0 < box.x1 <= 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)


def test_mistakes_are_written_out(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(mistakes, "write_picture", lambda _, figure: figures.append(figure))
    listed = [
        {"probability": 1 - i / 100, "true": "good", "predicted": "bad", "text": f"$ {i} $\n" + "word " * 99}
        for i in range(20)
    ]
    mistakes.draw(listed, tmp_path / "mistakes.png", "mine")
    (figure,) = figures
    (text,) = (text for text in figure.texts if "in truth" in text.get_text())
    written = text.get_text().split("\n")
    assert [line for line in written if "in truth" in line][:2] == [
        "bad (1.000), in truth good", "bad (0.990), in truth good",
    ]  # fmt: skip
    assert written[1].startswith("    $ 0 $")
    assert max(map(len, written)) <= 120
    assert sum("in truth" in line for line in written) == 15
    # All of it is inside the picture.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = text.get_window_extent(canvas.get_renderer())
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.height
    assert box.x1 <= figure.bbox.width


def test_a_picture_of_ones_own_is_drawn_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "__init__.py").touch()
    draw = "def draw(data, path, title):\n    path.write_text(f'{title} {data}')\n"
    for name in ("shelf/lanes.py", "forks.py"):
        (tmp_path / name).write_text(draw)
    monkeypatch.syspath_prepend(str(tmp_path))
    paths = draw_report({"shelf.lanes": 1, "forks": 2}, tmp_path, "mine")
    assert [(path.name, path.read_text()) for path in paths] == [
        ("shelf.lanes.png", "mine 1"),
        ("forks.png", "mine 2"),
    ]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e5, *(3.0 - 0.1 * e for e in range(20))], "log"),  # all but the first in a 50,000th of the axis
        ([3.0 - 0.1 * e for e in range(20)], "linear"),
        ([1e5, *(0.1 * e for e in range(20))], "linear"),  # zero has no logarithm
        ([1e5, 1.0], "linear"),  # too few to be a curve
        ([2.0] * 20, "linear"),
    ],
)
def test_an_axis_is_logarithmic_where_a_linear_one_hides_the_curve(values, scale, tmp_path, figures):
    draw([{"epoch": e, "val/loss": v} for e, v in enumerate(values, 1)], tmp_path, "val/loss", "min")
    assert figures[0].axes[0].get_yscale() == scale
