"""The way in: records, the journal, the engine, and what came of them."""
