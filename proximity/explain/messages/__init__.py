"""What is said to a person about themselves, in their language: a table of sentences for each.

All tables have the same keys and the same holes; English is the first, and the one that others are
translated from. A language more is a file and a row here.
"""

from proximity.explain.messages import de, en, es, fr

__all__ = ["LANGUAGES"]

LANGUAGES: dict[str, dict[str, str]] = {
    "en": en.SENTENCES,
    "fr": fr.SENTENCES,
    "de": de.SENTENCES,
    "es": es.SENTENCES,
}
