"""Pages in a real browser: Chromium without a screen, driven over its own protocol."""
