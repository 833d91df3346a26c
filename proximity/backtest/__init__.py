"""What would these campaigns have sent in a time that is over?"""
