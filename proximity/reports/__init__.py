"""What happened, in numbers of which nobody can be picked out?"""
