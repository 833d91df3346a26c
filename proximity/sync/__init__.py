"""People kept alike here and elsewhere: a feed of changes out, upserts in, and one rule for both."""
