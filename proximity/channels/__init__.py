"""Ways to hand over an offer: a file for each channel, one egress client for all of them."""

from proximity.channels.channel import CHANNELS, Channel, Reply, open_channels, set_up

__all__ = ["CHANNELS", "Channel", "Reply", "open_channels", "set_up"]
