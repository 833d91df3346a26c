"""Two radios under one name are told from one that changes its address."""

import pytest

from beacon_gateway.shared import (
    MOST_ADDRESSES,
    MOST_IDENTITIES,
    MOST_RADIOS,
    MOST_TOLD,
    WINDOW_S,
    Shared,
)

ONE = ("ibeacon", "f7826da6-4fa2-4e98-8024-bc5b71e0893e", 1, 7, None)


def listen(pattern, step=1.0, shared=None):
    shared = Shared() if shared is None else shared
    for n, address in enumerate(pattern):
        shared.heard(ONE, str(address), n * step)
    return shared.snapshot()


def test_two_radios_by_turns():
    assert listen("ABABABA") == [{"identity": f"ibeacon/{ONE[1]}/1/7", "radios": 2, "addresses": 2}]
    assert listen("ABCABCABC")[0]["radios"] == 3


@pytest.mark.parametrize("pattern", ["AAAAAA", "AAABBBCCC", "ABCDEFGH", range(2000)])
def test_one_radio_that_changes_its_address(pattern):
    assert listen(pattern) == []


def test_a_late_repeat_or_two_is_no_second_radio():
    assert listen("AAABABBBBBBBB") == []
    assert listen("AAABABBBBBBBBAB") != []


def test_an_address_that_was_gone_for_long_is_new():
    assert listen("ABABABAB", step=WINDOW_S + 1.0) == []


def test_a_copy_that_is_gone_is_forgotten():
    shared = Shared()
    assert listen("ABABABAB", shared=shared)
    shared.heard(ONE, "A", 10.0)
    for n in range(20):
        shared.heard(ONE, "AC"[n % 2], 700.0 + n)
    assert shared.snapshot()[0]["radios"] == 2
    for n in range(5):
        shared.heard(ONE, f"D{n}", 2000.0 + n * 700.0)
    assert shared.snapshot() == []


def test_memory_is_bounded():
    shared = Shared()
    for n in range(3 * MOST_ADDRESSES):
        shared.heard(ONE, str(n % (2 * MOST_ADDRESSES)), n * 0.1)
    assert len(shared._radios[ONE]) == MOST_ADDRESSES
    for n in range(MOST_IDENTITIES + 10):
        for address in "ABA":
            shared.heard(("ibeacon", "u", n), address, 1000.0)
    assert len(shared._radios) == MOST_IDENTITIES
    assert len(shared._returns) <= MOST_IDENTITIES
    assert not any(isinstance(number, str) for number in shared._radios[("ibeacon", "u", 100)])


def test_made_up_names_and_addresses_together_are_bounded():
    shared = Shared()
    for n in range(4 * MOST_RADIOS):
        shared.heard((*ONE[:3], n % 2000), str(n), n * 1e-3)
        assert shared._count <= MOST_RADIOS
    assert sum(len(radios) for radios in shared._radios.values()) == shared._count
    for n in range(9):
        shared.heard(ONE, "AB"[n % 2], 1e3 + n)
    assert [one["radios"] for one in shared.snapshot()] == [2]


def test_the_worst_are_told_and_not_thousands():
    shared = Shared()
    for n in range(3 * 300 * 4):
        radio = n // 300 % (3 if n % 300 == 7 else 2)
        shared.heard((*ONE[:3], n % 300), f"{radio}", n * 1e-2)
    told = shared.snapshot()
    assert len(told) == MOST_TOLD
    assert told[0]["identity"].endswith("/7")


@pytest.fixture(scope="module")
def floors(shared_data):
    folder = shared_data("mall-ibeacon-walks")
    heard = {}
    for path in sorted(folder.glob("*/*/path_data_files/*.txt")):
        floor = heard.setdefault(path.parent.parent.relative_to(folder).as_posix(), [])
        for line in path.read_text().splitlines():
            fields = line.split("\t")
            if len(fields) > 8 and fields[1] == "TYPE_BEACON":
                identity = ("ibeacon", fields[2].lower(), int(fields[3]), int(fields[4]))
                floor.append((float(fields[0]) / 1000.0, identity, fields[8]))
    return {floor: sorted(rows) for floor, rows in heard.items()}


def found(rows):
    shared, most = Shared(), {}
    for n, (at, identity, address) in enumerate(rows):
        shared.heard(identity, address, at)
        if n % 500 == 0 or n == len(rows) - 1:
            for one in shared.snapshot():
                before = most.get(one["identity"], one)
                most[one["identity"]] = max(before, one, key=lambda known: known["radios"])
    return most


def test_a_real_mall_says_one_triple_with_hundreds_of_radios(floors):
    everywhere = "ibeacon/9195b3ad-a9d0-4500-85ff-9fb0f65a5201/0/0"
    for floor, radios in (("site1/F1", 20), ("site1/F2", 20)):
        most = found(floors[floor])
        assert max(most.values(), key=lambda one: one["radios"])["identity"] == everywhere
        assert most[everywhere]["radios"] >= radios
        assert most[everywhere]["addresses"] >= 50
    assert "ibeacon/fda50693-a4e2-4fb1-afcf-c6eb07647825/10073/61418" in found(floors["site2/B1"])
