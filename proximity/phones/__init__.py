"""Which regions are phones told to watch?"""
