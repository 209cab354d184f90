"""Test the page: it is complete and self-contained, and names missing parts."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import fabricated_report as fabricated
import pytest

from etude.report.facts import Figure, Figures, Rejected
from etude.report.page import render


class Page(HTMLParser):
    """Collect ids, text and all references to other files."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input", "use", "path", "image", "rect", "ellipse", "line"})

    def __init__(self, html):
        super().__init__()
        self.ids, self.open, self.outside, self.words = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag in ("script", "iframe", "link"):
            self.outside.append(tag)
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name, "")
            if value and not value.startswith(("#", "data:")):
                self.outside.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
            self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def html():
    return render(fabricated.facts())


def test_it_needs_nothing_from_elsewhere(html):
    page = Page(html)
    assert page.outside == []
    assert page.open == []
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_link_of_the_contents_leads_somewhere(html):
    targets = set(re.findall(r'href="#([\w-]+)"', html.partition("<main>")[0]))
    assert targets
    assert targets <= set(Page(html).ids)


def test_it_shows_what_was_refused_and_says_the_corpus_is_synthetic_beside_each_group_of_figures(html):
    text = Page(html).text
    for reason in ("duplicate", "bad_timestamp", "too_short", "undecodable"):
        assert reason in text
    assert text.count("The corpus is synthetic") == 6


def test_figures_of_a_colour_that_the_page_does_not_set_are_a_mistake(html):
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    assert used <= set(re.findall(r"^\s*(?:.*;\s*)?(--[\w-]+):", html, re.MULTILINE)) | set(
        re.findall(r"(--[\w-]+):", html.partition("</style>")[0])
    )
    assert "#0b00" not in html


def test_titles_are_text_and_not_markup(html):
    assert "<op. 3>" not in html
    assert "Étude &lt;op. 3&gt;" in html
    assert "<op. 3>" in Page(html).text


def test_a_run_that_both_chains_share_is_timed_once(html):
    time = Page(html.partition('<section id="time">')[2].partition("</section>")[0]).text
    assert "3 min 36 s in all" in time
    assert "2 min 26 s in all, ingest and mel as above" in time
    assert time.count("mel rows in") == 1


def test_under_the_papers_protocol_nothing_is_called_unseen_or_served():
    whole = fabricated.facts()
    rows = [row for row in whole.evaluation_figures.rows if row.slice in ("cold", "all", "train", "validation", "test")]
    facts = replace(
        whole, evaluation=fabricated.chain("paper", "demo-paper"), evaluation_figures=Figures(rows, "paper")
    )
    text = Page(render(facts)).text.partition("Protocols")[0]
    for false in ("not in the factorisation", "Cold tracks", "published list", "On cold tracks", "the mixed list"):
        assert false not in text
    assert "On test tracks fusion reaches recall@20" in text
    assert "new to the network but not to the factorisation" in text


def test_the_protocol_stands_beside_each_claim_that_was_measured(html):
    claims = re.findall(r"<li>(.*?)</li>", html.partition('class="claims"')[2].partition("</ul>")[0])
    assert [("reaches" in claim or "Recall" in claim) == ('badge strict">' in claim) for claim in claims] == [True] * 4


def test_an_example_of_refused_audio_is_named():
    whole = fabricated.facts()
    rejects = (Rejected("mel", "manifest", "too_short", 9, "a/t3.ogg"),)
    page = Page(render(replace(whole, listening=replace(whole.listening, rejects=rejects))))
    assert "such as a/t3.ogg" in page.text


def test_missing_parts_are_named():
    page = Page(render(fabricated.bare()))
    assert page.open == []
    for what in (
        "no loss of the factorisation",
        "no mel spectrograms",
        "no training curves",
        "no errors of predicted factors",
        "no ranking was scored",
        "no production lists",
    ):
        assert what in page.text
    assert "synthetic" not in page.text


def test_a_lake_with_an_evaluation_but_no_lists_has_a_page():
    facts = replace(fabricated.facts(), production={}, production_figures=Figures((), "none"), lists=None, samples=())
    text = Page(render(facts)).text
    assert "no production lists" in text
    assert "Production" not in text.partition("Input")[0]


def test_the_same_facts_give_the_same_page(html):
    assert render(fabricated.facts()) == html


def test_a_settings_value_that_differs_is_shown_beside_its_default(html):
    assert re.search(r"<code>wmf.alpha</code></th><td>5.0</td><td>5.0</td><td class=\"default\">1.0</td>", html)
    assert "<code>wmf.seed</code>" not in html


def test_the_warming_curve_shows_a_blend_between_its_parts():
    levels = ("0", "1", "2_3", "4_7", "8_15", "16")
    curves = {"blend": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), "plays_only": (0, 0, 0.1, 0.3, 0.5, 0.6)}
    found = [
        Figure("topn", model, "catalogue", f"found_{level}", value, k=100)
        for model, values in curves.items()
        for level, value in zip(levels, values, strict=True)
    ]
    found.append(Figure("topn", "blend", "catalogue", "recall", 0.4, k=100))
    before = fabricated.facts()
    facts = replace(before, evaluation_figures=Figures([*before.evaluation_figures.rows, *found], "strict"))
    page = render(facts)
    assert "As a track warms up" in page and "the mixed lists of 100 tracks" in page
    picture = page.partition("found among the first 100 by listeners: blend, plays only")[2].partition("</svg>")[0]
    for label in ("none", "2-3", "16 and more", "plays only"):
        assert f">{label}</text>" in picture
    assert "As a track warms up" not in render(before)


def test_a_search_of_settings_shows_its_trials_and_what_it_found_beside_what_was_given(html):
    assert "Run tune made 6 trials. Best: NDCG@100 0.169 with rank 100, linear confidence, alpha 0.5" in html
    assert "with the settings as given 0.130." in html
    picture = html[html.index("Settings tried") : html.index('id="sound"')]
    assert picture.count(">best<") == picture.count(">as given<") == 1
    assert "Settings tried" not in render(fabricated.bare())
