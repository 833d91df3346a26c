"""The question: how much does it cost, as campaigns write it and as landing pages say it.

``1.90 EUR``: an amount with a point and a currency of ISO 4217. Pure; it knows no campaign.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from proximity.content.languages import is_currency

__all__ = ["Price", "read_price"]

_PRICE = re.compile(r"(?P<amount>[0-9]{1,12}(\.[0-9]{1,4})?) (?P<currency>[A-Z]{3})")


class Price(msgspec.Struct, frozen=True):
    """An amount of a currency; two are equal where they are worth the same (1.9 and 1.90)."""

    amount: float
    currency: str

    def __str__(self) -> str:
        # Not through binary: 1.90 stays what was meant, and 2.00 is 2.
        return f"{Decimal(str(self.amount)).normalize():f} {self.currency}"


def read_price(text: str) -> Price:
    """Read ``1.90 EUR``; raises ValueError where it is no price."""
    found = _PRICE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'{text!r:.60} is no price: write it like "1.90 EUR"')
    if not is_currency(found["currency"]):
        raise ValueError(f"{found['currency']} is no currency: write one of ISO 4217, such as EUR")
    return Price(float(found["amount"]), found["currency"])
