"""What does an offer say, in which language, and where does its link lead?"""
