"""What landing pages promise, in the spellings that are found on the web."""

from __future__ import annotations

import json

import pytest

from proximity.content.landing import Landing, read_landing
from proximity.content.prices import Price, read_price
from tests.proximity.given import when

OFFER = {
    "@context": "https://schema.org", "@type": "Product", "name": "Coffee",
    "offers": {"@type": "Offer", "price": "1.90", "priceCurrency": "EUR",
               "priceValidUntil": "2026-05-01", "availability": "https://schema.org/InStock"},
}  # fmt: skip


def page(*offers: object, body: str = "") -> bytes:
    scripts = "".join(
        f'<script type="application/ld+json">{json.dumps(one)}</script>' for one in offers
    )
    return f"<html><head>{scripts}</head><body>{body}</body></html>".encode()


def test_an_offer_in_json_ld() -> None:
    landing = read_landing(page(OFFER, body="<h1>Café  du\nNord</h1><style>x{}</style>"))
    assert landing == Landing(
        prices=frozenset({Price(1.9, "EUR")}), until=when("2026-05-01 23:59:59", "UTC"),
        words="Café du Nord",
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        (
            '<div itemscope itemtype="https://schema.org/Offer"><meta itemprop="price" content="1.90">'
            '<meta itemprop="priceCurrency" content="EUR"></div>'
        ),
        (
            '<meta property="product:price:amount" content="1.9">'
            '<meta property="product:price:currency" content="EUR">'
        ),
        '<meta property="og:price:amount" content="1.9"><meta property="og:price:currency" content="EUR">',
    ],
)
def test_an_offer_in_attributes(body: str) -> None:
    assert read_landing(page(body=body)).prices == {Price(1.9, "EUR")}


def test_offers_anywhere_in_a_graph_and_what_is_gone() -> None:
    graph = {"@graph": [OFFER, [{"@type": ["Thing", "Offer"], "price": 2, "priceCurrency": "EUR",
                                 "availability": "SoldOut"}]]}  # fmt: skip
    landing = read_landing(page(graph))
    assert landing.prices == {Price(1.9, "EUR"), Price(2.0, "EUR")}
    assert not landing.sold_out  # one of them is there
    gone = {"@type": "Offer", "availability": "http://schema.org/OutOfStock"}
    assert read_landing(page(gone)).sold_out
    nested = {"@type": "Offer", "priceSpecification": {"price": "3.50", "priceCurrency": "CHF"}}
    assert read_landing(page(nested)).prices == {Price(3.5, "CHF")}


HOSTILE = [
    b"", b"\x00\xff\xfe", b"<" * 100_000, b"<script type='application/ld+json'>{" * 50,
    b"<script type='application/ld+json'>" + b"[" * 100_000 + b"</script>",
    page([{"@type": "Offer"}] * 10_000), page({"@type": "Offer", "price": "1e999", "priceCurrency": 7}),
    page({"@type": "Offer", "price": True, "priceCurrency": "EUR"}), page({"@type": {"a": "Offer"}}),
    page({"@type": "Offer", "priceValidUntil": "soon", "price": [1], "availability": {}}),
    page(body="<meta itemprop='price' content='1.9'>" * 10_000), page("text"), page(None), page(7),
    b"<!--" * 10_000, b"<![CDATA[" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_a_page_that_means_harm_says_nothing(body: bytes) -> None:
    landing = read_landing(body)
    assert landing.prices <= {Price(1.9, "EUR")}
    assert landing.until is None


def test_prices() -> None:
    assert read_price("1.90 EUR") == Price(1.9, "EUR")
    assert str(Price(1.9, "EUR")) == "1.9 EUR"
    assert str(Price(2.0, "EUR")) == "2 EUR"
    for bad in ("1.90", "EUR 1.90", "1,90 EUR", "-1 EUR", "1.9 eur", "1e9 EUR", "nan EUR", ""):
        with pytest.raises(ValueError, match="is no price"):
            read_price(bad)


def test_what_is_commented_out_says_nothing() -> None:
    struck = "<!-- <meta itemprop='price' content='0.5'> --><meta itemprop='price' content='1.9'>"
    shown = page(body=struck + "<meta itemprop='priceCurrency' content='EUR'>")
    assert read_landing(shown).prices == {Price(1.9, "EUR")}
