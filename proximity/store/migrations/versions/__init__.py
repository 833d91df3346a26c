"""The revisions, oldest first; each is one file that is never edited after its release."""
