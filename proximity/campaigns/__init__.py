"""What is to be said, where, when and to whom: the form, its keys and its faults."""
