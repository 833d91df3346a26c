"""Which people does a rule mean? The same in memory and in SQL."""
