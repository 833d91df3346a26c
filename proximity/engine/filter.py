"""Where is a phone truly, and how surely, when its errors hang together?

The arithmetic of the position filter: an interacting-multiple-model filter (Blom and Bar-Shalom,
1988) over two ways to move, standing and walking, that carries the phone's own error as a state
beside the position. It is written once, over plain floats or over numpy arrays of many phones
alike, and gives the same bits either way. Knows metres and seconds of one phone; knows no fix, no
fence, no coordinates and no decision (``tracking`` has those).

Why the error is a state: two fixes 5 s apart share 92 % of their error, so their mean is no better
than one of them; a filter that takes errors for fresh each time is sure, after ten fixes, of what
one and the same error repeated ten times. Their difference, however, shows motion well.
"""

from __future__ import annotations

from typing import Any

Number = Any
"""A float, or a numpy array of them, one for each phone."""

# An error of position is half forgotten after 42 s: reflections change as one walks a street or as
# satellites move. Half or twice as long costs less than 0.03 of F1 on simulated streets.
ERROR_MEMORY_S = 60.0
# A walker keeps a heading for about a minute. The same as the errors' memory on purpose: motion
# and error then differ in size alone, and one exponential serves both.
VELOCITY_MEMORY_S = ERROR_MEMORY_S
# No evidence rules a way to move out for good.
DOUBT = 1e-9
# Per axis: a stroll through shops is 0.85 m/s, brisk walking 1.7 m/s, two and a half of these.
VELOCITY_SD_MPS = 0.6
# Who stands still shifts about by a metre in a minute.
STANDING_M2_PER_S = 0.02
# Stops come after four minutes of walking, and last five at first: errands in a street.
STOPS_PER_S = 1.0 / 250.0
STAND_S = 300.0
# How long people stay has a heavy tail, from a till to a night's charger: whoever has stood for an
# hour will hardly set off in the next minute; what looks like it is the phone's error. Up to 15
# times as long as one has stood, once that is more than ten minutes: from the first second on,
# couriers' short stops would be taken for rest. It is the price of quiet: phones at rest make 0.5
# false events a day instead of 6, couriers' rounds lose 0.06 of F1, streets gain 0.01.
LASTING = 15.0
RESTS_AFTER_S = 600.0
# The part of the time that one stands, where nothing else is known.
STANDING_SHARE = STOPS_PER_S / (STOPS_PER_S + 1.0 / STAND_S)
# The part of an error's amplitude that is new with each fix; the rest hangs together.
WHITE_SHARE = 0.2
# Rounding of coordinates and clocks, as a variance in square metres.
WHITE_FLOOR_M2 = 1.0
# Where a track begins the position is where the fix says, less its error, give or take this
# variance (square metres): the two cancel in the fix.
START_M2 = 9.0

State = tuple[Number, ...]
"""Standing: x, y, error x, error y, and the variances pp, pe, ee that both axes share; walking: x,
y, velocity x, y, error x, y, and pp, pv, vv, pe, ve, ee; the probability of standing. 20 numbers,
metres and seconds, from where the last fix said that the phone was. Whoever stands has no velocity;
that of whoever sets off is drawn anew."""

STANDING, STOOD = 19, 20
"""Where in a state the probability of standing is, and for how long one has stood, if one does."""
V2 = VELOCITY_SD_MPS * VELOCITY_SD_MPS


def start(variance: Number, zero: Number) -> State:
    """Begin where a fix says, ``variance`` (square metres an axis) being that of its error.

    ``zero`` is 0.0, or an array of as many zeros as there are phones.
    """
    near, minus = variance + START_M2, zero - variance
    still = (zero, zero, zero, zero, near, minus, variance)
    moving = (zero, zero, zero, zero, zero, zero, near, zero, V2 + zero, minus, zero, variance)
    return (*still, *moving, STANDING_SHARE + zero, zero)


def goes(stood: Number) -> Number:
    """Give how often a second somebody sets off who has stood for ``stood`` seconds."""
    return 1.0 / (STAND_S + LASTING * stood * (stood / (stood + RESTS_AFTER_S)))


def changes(state: State) -> Number:
    """Give how often a second the way to move changes, either way."""
    return STOPS_PER_S + goes(state[-1])


def predict(
    state: State, gap_s: Number, rho: Number, keep: Number, variance: Number
) -> tuple[State, Number]:
    """Let ``gap_s`` seconds pass: what is known of the phone just before its next fix.

    ``rho`` is exp(-gap / ERROR_MEMORY_S), ``keep`` is exp(-gap * ``changes``), ``variance``
    that of the coming fix's error (square metres an axis). Gives the state, and the variance of
    what is new in the error.
    """
    (
        sx, sy, sex, sey, spp, spe, see,
        wx, wy, vx, vy, wex, wey, wpp, wpv, wvv, wpe, wve, wee, standing, stood,
    ) = state  # fmt: skip
    # The chain of modes: who stood and stands on, who walked and now stands.
    share = STOPS_PER_S / (STOPS_PER_S + goes(stood))
    stayed = share + (1.0 - share) * keep
    stopped = share * (1.0 - keep)
    weight = standing * stayed + (1.0 - standing) * stopped
    a = standing * stayed / weight
    b = 1.0 - a
    g = standing * (1.0 - stayed) / (1.0 - weight)
    h = 1.0 - g
    # Mixing: a mode's variance grows by how far the two modes lie apart.
    dx, dy, dex, dey = sx - wx, sy - wy, sex - wex, sey - wey
    dpp = 0.5 * (dx * dx + dy * dy)
    dpe = 0.5 * (dx * dex + dy * dey)
    dee = 0.5 * (dex * dex + dey * dey)
    dpv = -0.5 * (dx * vx + dy * vy)
    dve = -0.5 * (dex * vx + dey * vy)
    dvv = 0.5 * (vx * vx + vy * vy)
    ab, gh = a * b, g * h
    rho2 = rho * rho
    fresh = (1.0 - rho2) * (1.0 - WHITE_SHARE * WHITE_SHARE) * variance
    pp = a * spp + b * wpp + ab * dpp + STANDING_M2_PER_S * gap_s
    pe = (a * spe + b * wpe + ab * dpe) * rho
    ee = (a * see + b * wee + ab * dee) * rho2 + fresh
    still = (
        a * sx + b * wx,
        a * sy + b * wy,
        (a * sex + b * wex) * rho,
        (a * sey + b * wey) * rho,
        pp,
        pe,
        ee,
    )
    # Walking: an Ornstein-Uhlenbeck velocity, integrated exactly over the gap.
    reach = VELOCITY_MEMORY_S * (1.0 - rho)
    mpp = g * spp + h * wpp + gh * dpp
    mpe = g * spe + h * wpe + gh * dpe
    mee = g * see + h * wee + gh * dee
    mpv = h * wpv + gh * dpv
    mvv = g * V2 + h * wvv + gh * dvv
    mve = h * wve + gh * dve
    mvx, mvy = h * vx, h * vy
    qpp = V2 * VELOCITY_MEMORY_S * (2.0 * gap_s - VELOCITY_MEMORY_S * (3.0 - 4.0 * rho + rho2))
    qpv = V2 * VELOCITY_MEMORY_S * (1.0 - rho) * (1.0 - rho)
    moving = (
        g * sx + h * wx + reach * mvx,
        g * sy + h * wy + reach * mvy,
        rho * mvx,
        rho * mvy,
        (g * sex + h * wex) * rho,
        (g * sey + h * wey) * rho,
        mpp + 2.0 * reach * mpv + reach * reach * mvv + qpp,
        rho * (mpv + reach * mvv) + qpv,
        rho2 * mvv + V2 * (1.0 - rho2),
        rho * (mpe + reach * mve),
        rho2 * mve,
        rho2 * mee + fresh,
    )
    return (*still, *moving, weight, a * (stood + gap_s)), fresh


def white(variance: Number) -> Number:
    """Give what is new with each fix of an error's ``variance``, and not kept (square metres)."""
    return WHITE_SHARE * WHITE_SHARE * variance + WHITE_FLOOR_M2


def surprise(
    state: State, x: Number, y: Number, new: Number
) -> tuple[Number, Number, Number, Number]:
    """Compare a fix at ``x``, ``y`` with what was expected; ``new`` is its own ``white``.

    Gives how far off it lies (square metres) and what was expected of that (square metres an
    axis): for standing, then for walking.
    """
    sx, sy, sex, sey, spp, spe, see, wx, wy, _, _, wex, wey, wpp, _, _, wpe, _, wee, _, _ = state
    dx, dy = x - sx - sex, y - sy - sey
    standing = dx * dx + dy * dy
    dx, dy = x - wx - wex, y - wy - wey
    walking = dx * dx + dy * dy
    return standing, spp + 2.0 * spe + see + new, walking, wpp + 2.0 * wpe + wee + new


def correct(
    state: State, x: Number, y: Number, s_variance: Number, w_variance: Number, likelier: Number
) -> State:
    """Take a fix at ``x``, ``y``; positions are then counted from there.

    ``likelier``: how many times as likely the fix is walking as it is standing.
    """
    (
        sx, sy, sex, sey, spp, spe, see,
        wx, wy, vx, vy, wex, wey, wpp, wpv, wvv, wpe, wve, wee, standing, stood,
    ) = state  # fmt: skip
    dx, dy = x - sx - sex, y - sy - sey
    sp, se = spp + spe, spe + see
    kp, ke = sp / s_variance, se / s_variance
    still = (
        sx + kp * dx - x,
        sy + kp * dy - y,
        sex + ke * dx,
        sey + ke * dy,
        spp - kp * sp,
        spe - kp * se,
        see - ke * se,
    )
    dx, dy = x - wx - wex, y - wy - wey
    wp, wv, we = wpp + wpe, wpv + wve, wpe + wee
    kp, kv, ke = wp / w_variance, wv / w_variance, we / w_variance
    moving = (
        wx + kp * dx - x,
        wy + kp * dy - y,
        vx + kv * dx,
        vy + kv * dy,
        wex + ke * dx,
        wey + ke * dy,
        wpp - kp * wp,
        wpv - kp * wv,
        wvv - kv * wv,
        wpe - kp * we,
        wve - kv * we,
        wee - ke * we,
    )
    told = standing / (standing + (1.0 - standing) * likelier)
    told = DOUBT + (1.0 - 2.0 * DOUBT) * told
    return (*still, *moving, told, stood)


def position(state: State) -> tuple[Number, Number, Number]:
    """Give metres east and north of the last fix, and the variance of that (an axis)."""
    sx, sy, spp, wx, wy, wpp, standing = (
        state[0], state[1], state[4], state[7], state[8], state[13], state[19],
    )  # fmt: skip
    walking = 1.0 - standing
    dx, dy = sx - wx, sy - wy
    apart = 0.5 * standing * walking * (dx * dx + dy * dy)
    return (
        standing * sx + walking * wx,
        standing * sy + walking * wy,
        standing * spp + walking * wpp + apart,
    )
