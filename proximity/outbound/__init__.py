"""Telling other systems what happened, as it happens: signed webhooks and files, nothing lost."""
