"""How fast is it, against what anyone would use instead? ``python -m benchmarks --help``."""
