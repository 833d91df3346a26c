"""What is kept for how long, and how does somebody leave without a trace?"""
