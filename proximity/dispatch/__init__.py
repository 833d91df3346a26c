"""The way out: triggers are decided once, offers are handed over."""
