"""May this offer be made to this person now, and if not, why not?"""
