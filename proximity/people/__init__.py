"""Who carries which subject, what do they want, and what have they done?"""
