"""People kept alike here and elsewhere: changes out, upserts in, and one rule for both."""
