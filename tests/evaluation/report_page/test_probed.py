"""Panels of what was probed: the numbers of the findings, each where it belongs, and nothing for what was not asked."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sensorium.evaluation.probes import FOLDER
from sensorium.evaluation.probes.audit import Audit
from sensorium.evaluation.probes.findings import Findings
from sensorium.evaluation.probes.rotation import Rotation
from sensorium.evaluation.probes.sizes import Curve, Point
from sensorium.evaluation.report_page import make_report
from sensorium.evaluation.report_page.probed import _drawn, panels
from sensorium.evaluation.results import score_run


@pytest.fixture
def probed(a_run, balls):
    """A run that sees the balls, its two blind probes and the one of smaller pictures, each an answering rule."""

    def sees(question):
        return "Yes" if "red" in question or "blue" in question else "No"

    folder = a_run("m", balls, sees)
    for name, rule in (("no-picture", lambda question: "Yes"), ("grey", sees)):
        a_run(f"m/{FOLDER}/{name}", balls, rule)
    return folder


def test_gain_and_leaning_stand_in_panels_of_their_own(probed):
    blind, leaning = panels(score_run(probed).probes)
    assert (blind.title, leaning.title) == ("Without the picture", "Leaning to yes or no")
    cells = {row.cells[0]: dict(zip(blind.columns, row.cells, strict=True)) for row in blind.rows}
    # Of eight questions about red, green, blue and yellow balls, with the ball before it as the wrong one, four are
    # right; always saying yes is right in four as well.
    assert (cells["no-picture"]["seeing"], cells["no-picture"]["blind"]) == ("0.500", "0.500")
    assert cells["no-picture"]["gain"] == "+0.000" and cells["grey"]["gain"] == "+0.000"
    assert cells["no-picture"]["base model"] == cells["no-picture"]["leakage"] == "–"
    assert blind.series == ("seeing", "blind") and [mark.value for mark in blind.rows[0].marks] == [50, 50]
    assert leaning.rows[2].cells[:2] == ("share of yes", "50%")


def test_a_run_without_probes_has_no_panels_of_them(a_run, balls, parsed):
    folder = a_run("m", balls, lambda question: "Hm")
    assert panels(score_run(folder, "vlmevalkit").probes) == [] == panels(None)
    page = parsed(make_report(folder, variant="vlmevalkit").html)
    assert not page.all("h2", id="probes") and not page.all("a", href="#probes")


def test_the_page_shows_what_was_probed(probed, parsed):
    page = parsed(make_report(probed).html)
    assert page.all("a", href="#probes") and "What the score hides" in page.text
    assert "no-picture 0.500 0.500 +0.000" in page.text


def _curve(spent, means=(0.25, 0.5, 0.75, 1.0)):
    """spent: visual tokens, None where the engine counts no tokens at all."""
    points = [
        Point(at=at, tokens=30 + tokens if tokens else 0, visual_tokens=tokens, mean=mean, low=mean - 0.1,
              high=mean + 0.1)
        for at, tokens, mean in zip(("1/8", "1/4", "1/2", "1"), spent, means, strict=True)
    ]  # fmt: skip
    return Curve(of="sides", questions=9, points=points)


def test_a_curve_of_tokens_that_grow_four_times_has_even_steps():
    drawn = _drawn(_curve((3, 12, 48, 192)))
    x = [place for place, _ in drawn.points]
    assert [after - before for before, after in pairwise(x)] == pytest.approx([x[1] - x[0]] * 3, abs=0.2)
    heights = [y for _, y in drawn.points]
    assert heights == sorted(heights, reverse=True), "more is higher, and up is less of y"
    assert [name for _, name in drawn.labels] == ["1/8: 3", "1/4: 12", "1/2: 48", "1: 192"]
    # An interval reaches no higher than the top of the axis.
    assert min(high for _, _, high in drawn.whiskers) == drawn.rings[-1][0]


def test_a_model_that_spends_the_same_on_every_size_still_has_a_curve():
    for spent in (64, None):
        x = [place for place, _ in _drawn(_curve((spent,) * 4)).points]
        assert x == sorted(set(x))
    assert [name for _, name in _drawn(_curve((None,) * 4)).labels] == ["1/8", "1/4", "1/2", "1"]


def test_options_turned_round_show_what_flips_and_which_letter_is_liked():
    turned = Rotation(
        questions=24, circular=0.25, circular_low=0.12, circular_high=0.45, chance=0.004, mean=0.5, published=0.75,
        order_gain=1 / 3, order_low=0.1, order_high=0.57, flips=0.7, prior={"A": 0.6, "C": 0.4},
        truth={"A": 0.5, "B": 0.5},
    )  # fmt: skip
    audit = Audit(replies=1, unread=0, share=0, share_low=0, share_high=1, mean=1, without=1, at_best=1, tasks={},
                  examples=[])  # fmt: skip
    found = Findings(audit=audit, polarity=None, blind=[], rotation=turned, slots=None, overlap=None, curves=[])
    options, letters = panels(found)
    cells = {row.cells[0]: row.cells[1:] for row in options.rows}
    assert cells["right in every order"] == ("0.250", "0.120 to 0.450")
    assert cells["published less the others"] == ("+0.333", "0.100 to 0.570")
    assert [row.cells for row in letters.rows] == [("A", "60%", "50%"), ("B", "0%", "50%"), ("C", "40%", "0%")]
    assert [[mark.value for mark in row.marks] for row in letters.rows] == [[60, 50], [0, 50], [40, 0]]
